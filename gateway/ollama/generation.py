"""POST /api/chat, /api/generate, /api/embed and /api/embeddings: what models generate."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.core.vectors import in_numbers
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.embedder import Embedded
from cupola.gateway.generation.streaming import Answer
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import aside, read_body
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
from cupola.gateway.openapi.described import JSON, NDJSON, Operation, Section, post
from cupola.scheduler.protocol.tasks import Embed, Text


class GenerationEndpoints:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._generator = dependencies.generator
        self._embedder = dependencies.embedder
        self._client = dependencies.client
        self._models = dependencies.models
        self._formats = dependencies.formats

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
        body = await read_body(OllamaChat, request)
        wanted = await aside(request, lambda: body.request)
        return await self._answer(body, wanted, chat=True)

    async def generate(self, request: Request) -> Answer | Response:
        body = await read_body(OllamaGenerate, request)
        return await self._answer(body, body.request, chat=False)

    async def _answer(
        self, body: OllamaChat | OllamaGenerate, wanted: GenerationRequest | None, *, chat: bool
    ) -> Answer | Response:
        """``wanted``: None where the model is only loaded, or unloaded."""
        frames = OllamaFrames(body.model, chat=chat, show_thinking=body.thinks is not False)
        if wanted is None:
            return await self._keep(body, frames)
        if body.thinks:
            await self._check_thinking(body.key)
        generation = await self._generator.generate(wanted)
        return Answer(generation.events, frames, stream=body.streamed)

    async def _keep(self, body: OllamaChat | OllamaGenerate, frames: OllamaFrames) -> Response:
        """A request without a prompt loads a model, or with ``keep_alive`` 0 unloads it."""
        model = await self._models.find(body.key)
        if body.keep_alive == 0:
            await self._client.unload(model.id)
        else:
            await self._client.load(model, body.keep_alive)
        answer = frames.nothing("unload" if body.keep_alive == 0 else "load")
        line = msgspec.json.encode(answer) + (b"\n" if body.streamed else b"")
        kind = NDJSON if body.streamed else JSON
        return Response(line, media_type=kind)

    async def _check_thinking(self, key: str) -> None:
        model = await self._models.find(key)
        if not (await self._formats.of(model.path)).thinks:
            text = f"The model '{key}' does not support thinking: leave 'think' out"
            raise ApiError(400, "unsupported_parameter", text, param="think")

    # -- vectors -----------------------------------------------------------------------------------

    async def embed(self, request: Request) -> Response:
        body = await read_body(OllamaEmbed, request)
        began = time.perf_counter_ns()
        texts = [body.input] if isinstance(body.input, str) else body.input
        parse = body.parse_special is not False
        given = tuple(Text(text, parse) for text in texts)
        task = Embed(given, body.dimensions, body.truncate is not False)
        with with_param_names({"texts": "input"}):
            found = await self._vectors(request, body.model, task, body.keep_alive)
        return json_answer(
            OllamaEmbedAnswer(
                model=body.model,
                embeddings=[in_numbers(vector) for vector in found.vectors],
                total_duration=time.perf_counter_ns() - began,
                load_duration=int(found.load_seconds * 1e9),
                prompt_eval_count=found.tokens,
            )
        )

    async def embeddings(self, request: Request) -> Response:
        body = await read_body(OllamaEmbeddings, request)
        text = Text(body.prompt, body.parse_special is not False)
        task = Embed((text,) if body.prompt else (), truncate=True)
        with with_param_names({"texts": "prompt"}):
            found = await self._vectors(request, body.model, task, body.keep_alive)
        vector = in_numbers(found.vectors[0]) if found.vectors else msgspec.Raw(b"[]")
        return json_answer(OllamaEmbeddingsAnswer(vector))

    async def _vectors(
        self, request: Request, model: str, task: Embed, ttl: float | None
    ) -> Embedded:
        key = model.removesuffix(LATEST)
        if not task.texts:  # clients load a model so
            local = await self._models.find(key)
            await self._client.load(local, ttl)
            return Embedded(local.id, [], 0)
        return await self._embedder.embed(request, key, task, ttl)
