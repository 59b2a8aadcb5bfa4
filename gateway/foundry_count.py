"""POST /v1/chat/completions/tokenizer/encode/count: how many tokens a chat request's prompt has.

Only workers have tokenizers, so a worker is asked for an answer of one token, whose usage says what
the same request would be charged with.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from cupola.gateway.chat import generation_of
from cupola.gateway.events import UsageTotal
from cupola.gateway.foundry_list import json_answer
from cupola.gateway.generator import Generator
from cupola.gateway.schemas.chat import ChatRequest
from cupola.scheduler.messages import SamplingParams

ONE_TOKEN = SamplingParams(max_tokens=1, temperature=0.0)


class FoundryCountApi:
    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def count(self, request: Request) -> Response:
        asked = generation_of(ChatRequest.model_validate_json(await request.body()))
        short = replace(asked, sampling=ONE_TOKEN, answers=1, constraint=None, prediction="")
        generation = await self._generator.generate(short)
        counted = 0
        async with aclosing(generation.events) as events:
            async for batch in events:
                for event in batch:
                    if isinstance(event, UsageTotal):
                        counted = event.usage.prompt_tokens
        return json_answer({"tokenCount": counted})
