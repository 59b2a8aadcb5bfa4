"""POST /v1/chat/completions/tokenizer/encode/count: how many tokens a chat request's prompt has."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cupola.gateway.arrangement import chat_prompt
from cupola.gateway.asking import ask
from cupola.gateway.chat import generation_of
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.foundry_list import json_answer
from cupola.gateway.generator import new_call_id
from cupola.gateway.models import ModelDirectory
from cupola.gateway.naming import in_words_of
from cupola.gateway.scheduler_client import SchedulerClient
from cupola.gateway.schemas.chat import ChatRequest
from cupola.scheduler.messages import Encode


class FoundryCountApi:
    def __init__(
        self, client: SchedulerClient, models: ModelDirectory, families: FamilyDirectory
    ) -> None:
        self._client = client
        self._models = models
        self._families = families

    async def count(self, request: Request) -> Response:
        """Counts what POST /v1/chat/completions would put to the model for the same body."""
        asked = generation_of(ChatRequest.model_validate_json(await request.body()))
        model = await self._models.find(asked.model, asked.provider)
        family = await self._families.of(model.path)
        with in_words_of(asked.names):
            prompt = chat_prompt(asked, family, new_call_id)
            outputs = await ask(self._client, request, model, Encode(prompt), asked.ttl)
        return json_answer({"tokenCount": len(outputs[-1].tokens)})
