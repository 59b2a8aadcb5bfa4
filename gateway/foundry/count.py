"""POST /v1/chat/completions/tokenizer/encode/count: how many tokens a chat request's prompt has."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cupola.gateway.core.asking import ask
from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry.answers import PromptCount
from cupola.gateway.generation.generator import new_call_id
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.preparation import chat_prompt
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.chat import generation_of
from cupola.gateway.toolcalls.directory import FormatDirectory
from cupola.scheduler.protocol.messages import Encode


class FoundryCountApi:
    def __init__(
        self, client: SchedulerClient, models: ModelDirectory, families: FormatDirectory
    ) -> None:
        self._client = client
        self._models = models
        self._families = families

    async def count(self, request: Request) -> Response:
        """Counts the prompt that POST /v1/chat/completions would make of the same body."""
        body = await read_body(ChatRequest, request)
        generation = await aside(request, generation_of, body)
        model = await self._models.find(generation.model, generation.provider)
        family = await self._families.of(model.path)
        with with_param_names(generation.names):
            prompt = chat_prompt(generation, family, new_call_id)
            outputs = await ask(self._client, request, model, Encode(prompt), generation.ttl)
        return json_answer(PromptCount(len(outputs[-1].tokens)))
