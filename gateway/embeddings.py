"""POST /v1/embeddings: vectors of texts."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Annotated, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.asking import ask
from cupola.gateway.error_codes import WORK
from cupola.gateway.errors import ApiError
from cupola.gateway.models import ModelDirectory
from cupola.gateway.naming import in_words_of
from cupola.gateway.openapi.described import Operation, Section, post
from cupola.gateway.scheduler_client import SchedulerClient
from cupola.gateway.schemas.embeddings import EmbeddingsRequest
from cupola.scheduler.messages import Embed, Usage

NAMES = {"texts": "input"}


class Embedded(NamedTuple):
    """``vectors``: float32, little-endian, in the order of the texts."""

    model: str
    vectors: list[bytes]
    tokens: int
    load_seconds: float = 0.0  # of waiting for the model to be loaded


class Embedder:
    """Makes embeddings for every door."""

    def __init__(self, client: SchedulerClient, models: ModelDirectory) -> None:
        self._client = client
        self._models = models

    async def embed(
        self, request: Request, name: str, task: Embed, ttl: float | None = None
    ) -> Embedded:
        """``request``: whose client waits. Raises ApiError, RequestFailed."""
        model = await self._models.find(name)
        outputs = await ask(self._client, request, model, task, ttl)
        vectors = [output.embedding for output in sorted(outputs, key=lambda made: made.index)]
        if len(vectors) != len(task.texts) or not all(vectors):
            text = f"The model '{model.id}' makes no embeddings"
            raise ApiError(400, "invalid_request", text, param="model")
        usage = outputs[-1].usage or Usage(0, 0)
        return Embedded(model.id, vectors, usage.prompt_tokens, usage.load_seconds)


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
