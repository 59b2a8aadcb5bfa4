"""POST /v1/embeddings: vectors of texts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.core.vectors import in_base64, in_numbers
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.openai.answers import Embedding, EmbeddingList, EmbeddingUsage
from cupola.gateway.openai.body.embeddings import EmbeddingsRequest
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.scheduler.protocol.tasks import Embed

NAMES = {"texts": "input"}


class EmbeddingsEndpoint:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._embedder = dependencies.embedder

    def routes(self) -> list[Route]:
        about = Operation(
            Section.OPENAI,
            "Vectors of texts",
            body=EmbeddingsRequest,
            answer=EmbeddingList,
            errors=WORK,
        )
        return [post("/v1/embeddings", self.create, about)]

    async def create(self, request: Request) -> Response:
        body = await read_body(EmbeddingsRequest, request)
        task = Embed(body.texts, body.dimensions, bool(body.truncate))
        with with_param_names(NAMES):
            found = await self._embedder.embed(request, body.model, task, body.seconds_loaded)
        encode = in_base64 if body.encoding_format == "base64" else in_numbers
        return json_answer(
            EmbeddingList(
                [Embedding(encode(vector), index) for index, vector in enumerate(found.vectors)],
                found.model,
                EmbeddingUsage(found.tokens, found.tokens),
            )
        )
