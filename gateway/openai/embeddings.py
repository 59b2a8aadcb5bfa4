"""POST /v1/embeddings: vectors of texts."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.param_names import in_words_of
from cupola.gateway.generation.embedder import Embedder
from cupola.gateway.http.error_codes import WORK
from cupola.gateway.openai.schemas.embeddings import EmbeddingsRequest
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.scheduler.protocol.messages import Embed

NAMES = {"texts": "input"}


_NUMBERS = {"type": "array", "items": {"type": "number"}}


class Embedding(msgspec.Struct, frozen=True):
    embedding: str | Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_NUMBERS)]
    index: int
    object: str = "embedding"


class EmbeddingUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True):
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: str = "list"


class EmbeddingsApi:
    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

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
        asked = EmbeddingsRequest.model_validate_json(await request.body())
        task = Embed(asked.texts, asked.dimensions, bool(asked.truncate))
        with in_words_of(NAMES):
            made = await self._embedder.embed(request, asked.model, task, asked.seconds_loaded)
        told = in_base64 if asked.encoding_format == "base64" else in_numbers
        answer = EmbeddingList(
            [Embedding(told(vector), index) for index, vector in enumerate(made.vectors)],
            made.model,
            EmbeddingUsage(made.tokens, made.tokens),
        )
        return Response(msgspec.json.encode(answer), media_type="application/json")


def in_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def in_numbers(vector: bytes) -> msgspec.Raw:
    """A JSON array with no more digits than a float32 has."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return msgspec.Raw(("[" + ",".join(f"{number:.9g}" for number in numbers) + "]").encode())
