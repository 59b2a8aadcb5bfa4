"""From texts to their vectors. Knows no API's shapes."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request

from cupola.gateway.core.asking import ask
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.errors import ApiError
from cupola.scheduler.protocol.outputs import Usage
from cupola.scheduler.protocol.tasks import Embed


class Embedded(NamedTuple):
    """``vectors``: float32, little-endian, in the order of the texts."""

    model: str
    vectors: list[bytes]
    tokens: int
    load_seconds: float = 0.0  # of waiting for the model to be loaded


class Embedder:
    """Makes embeddings for every API."""

    def __init__(self, client: SchedulerClient, models: ModelDirectory) -> None:
        self._client = client
        self._models = models

    async def embed(
        self, request: Request, name: str, task: Embed, ttl: float | None = None
    ) -> Embedded:
        """``request``: whose client waits. Raises ApiError, RequestFailed."""
        model = await self._models.find(name)
        outputs = await ask(self._client, request, model, task, ttl)
        vectors = [output.embedding for output in sorted(outputs, key=lambda output: output.index)]
        if len(vectors) != len(task.texts) or not all(vectors):
            text = f"The model '{model.id}' makes no embeddings"
            raise ApiError(400, "invalid_request", text, param="model")
        usage = outputs[-1].usage or Usage(0, 0)
        return Embedded(model.id, vectors, usage.prompt_tokens, usage.load_seconds)
