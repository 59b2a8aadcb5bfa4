"""POST /v1/chat/completions/tokenizer/encode/count: how many tokens a chat request's prompt has."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cupola.gateway.foundry.answers import PromptCount
from cupola.gateway.generation.prompt_counter import PromptCounter
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.chat import generation_of


class FoundryCountApi:
    def __init__(self, counter: PromptCounter) -> None:
        self._counter = counter

    async def count(self, request: Request) -> Response:
        """Counts the prompt that POST /v1/chat/completions would make of the same body."""
        body = await read_body(ChatRequest, request)
        output, _ = await self._counter.encode(request, await aside(request, generation_of, body))
        return json_answer(PromptCount(len(output.tokens)))
