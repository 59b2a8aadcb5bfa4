"""POST /api/chat, /api/generate, /api/embed and /api/embeddings: what Ollama's models make."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.events import Event
from cupola.gateway.core.param_names import in_words_of
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.embedder import Embedded
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import ApiError
from cupola.gateway.ollama.answers import (
    OllamaChatAnswer,
    OllamaEmbedAnswer,
    OllamaEmbeddingsAnswer,
    OllamaGenerateAnswer,
)
from cupola.gateway.ollama.body import (
    LATEST,
    OllamaChat,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
)
from cupola.gateway.ollama.frames import OllamaFrames
from cupola.gateway.openai.embeddings import in_numbers
from cupola.gateway.openapi.described import JSON, NDJSON, Operation, Section, post
from cupola.scheduler.protocol.messages import Embed, Text


class OllamaApi:
    def __init__(self, service: ApiDependencies) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        def makes(summary: str, body: Any, answer: Any, stream: str = "") -> Operation:
            return Operation(
                Section.OLLAMA, summary, body=body, answer=answer, stream=stream, errors=WORK
            )

        chat = makes("The next message of a conversation", OllamaChat, OllamaChatAnswer, NDJSON)
        text = makes("An answer to a prompt", OllamaGenerate, OllamaGenerateAnswer, NDJSON)
        vectors = makes("Vectors of texts", OllamaEmbed, OllamaEmbedAnswer)
        vector = makes("The vector of a text", OllamaEmbeddings, OllamaEmbeddingsAnswer)
        return [
            post("/api/chat", self.chat, chat),
            post("/api/generate", self.generate, text),
            post("/api/embed", self.embed, vectors),
            post("/api/embeddings", self.embeddings, vector),
        ]

    async def chat(self, request: Request) -> Answer | Response:
        return await self._answer(OllamaChat.model_validate_json(await request.body()), chat=True)

    async def generate(self, request: Request) -> Answer | Response:
        asked = OllamaGenerate.model_validate_json(await request.body())
        return await self._answer(asked, chat=False)

    async def _answer(self, asked: OllamaChat | OllamaGenerate, *, chat: bool) -> Answer | Response:
        frames = OllamaFrames(asked.model, chat=chat, show_thinking=asked.thinks is not False)
        if (wanted := asked.request) is None:
            return await self._keep(asked, frames)
        if asked.thinks:
            await self._check_thinking(asked.key)
        generation = await self._service.generator.generate(wanted)
        return Answer(_timed(generation.events, frames), frames, stream=asked.streamed)

    async def _keep(self, asked: OllamaChat | OllamaGenerate, frames: OllamaFrames) -> Response:
        """A request without a prompt loads a model, or with ``keep_alive`` 0 unloads it."""
        model = await self._service.models.find(asked.key)
        if asked.keep_alive == 0:
            await self._service.client.unload(model.id)
        else:
            await self._service.client.load(model, asked.keep_alive)
        told = frames.nothing("unload" if asked.keep_alive == 0 else "load")
        line = msgspec.json.encode(told) + (b"\n" if asked.streamed else b"")
        kind = NDJSON if asked.streamed else JSON
        return Response(line, media_type=kind)

    async def _check_thinking(self, key: str) -> None:
        family = await self._service.families.of((await self._service.models.find(key)).path)
        if not family.reasoning and not family.harmony:
            text = f"The model '{key}' does not support thinking: leave 'think' out"
            raise ApiError(400, "unsupported_parameter", text, param="think")

    # -- vectors -----------------------------------------------------------------------------------

    async def embed(self, request: Request) -> Response:
        asked = OllamaEmbed.model_validate_json(await request.body())
        began = time.perf_counter_ns()
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        task = Embed(tuple(map(Text, texts)), asked.dimensions, asked.truncate is not False)
        with in_words_of({"texts": "input"}):
            made = await self._vectors(request, asked.model, task, asked.keep_alive)
        return _json(
            {
                "model": asked.model,
                "embeddings": [in_numbers(vector) for vector in made.vectors],
                "total_duration": time.perf_counter_ns() - began,
                "load_duration": int(made.load_seconds * 1e9),
                "prompt_eval_count": made.tokens,
            }
        )

    async def embeddings(self, request: Request) -> Response:
        asked = OllamaEmbeddings.model_validate_json(await request.body())
        task = Embed((Text(asked.prompt),) if asked.prompt else (), truncate=True)
        with in_words_of({"texts": "prompt"}):
            made = await self._vectors(request, asked.model, task, asked.keep_alive)
        vector = in_numbers(made.vectors[0]) if made.vectors else msgspec.Raw(b"[]")
        return _json({"embedding": vector})

    async def _vectors(
        self, request: Request, model: str, task: Embed, ttl: float | None
    ) -> Embedded:
        key = model.removesuffix(LATEST)
        if not task.texts:  # as a way to load the model
            local = await self._service.models.find(key)
            await self._service.client.load(local, ttl)
            return Embedded(local.id, [], 0)
        return await self._service.embedder.embed(request, key, task, ttl)


async def _timed(
    events: AsyncGenerator[list[Event]], frames: OllamaFrames
) -> AsyncGenerator[list[Event]]:
    async with aclosing(events):
        async for batch in events:
            if batch:
                frames.arrived()
            yield batch


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
