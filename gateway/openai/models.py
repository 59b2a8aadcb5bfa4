"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.cache.store import CachedModel
from cupola.gateway.core.remote_models import RemoteModel, RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.error_codes import MODEL
from cupola.gateway.http.timestamps import rfc3339
from cupola.gateway.openai.schemas.answers import ModelEntry, ModelList
from cupola.gateway.openapi.described import Operation, Query, Section, get
from cupola.gateway.toolcalls.directory import FamilyDirectory


class ModelsApi:
    def __init__(
        self,
        client: SchedulerClient,
        models: ModelDirectory,
        families: FamilyDirectory,
        remote: RemoteModels,
    ) -> None:
        self._client = client
        self._models = models
        self._families = families
        self._remote = remote

    def routes(self) -> list[Route]:
        every = Operation(Section.OPENAI, "The models that are ready to use", answer=ModelList)
        one = Operation(
            Section.OPENAI,
            "One model",
            path={"id": Query(str, "id, name or alias")},
            answer=ModelEntry,
            errors=MODEL,
        )
        return [get("/v1/models", self.every, every), get("/v1/models/{id:path}", self.show, one)]

    async def every(self, request: Request) -> Response:
        local = [await self._entry(cached) for cached in await self._models.on_disk()]
        every = (*local, *map(_remote_entry, self._remote.all()))
        ids = [entry.id for entry in every]
        return _json(ModelList(every, ids[0] if ids else None, ids[-1] if ids else None))

    async def show(self, request: Request) -> Response:
        name = request.path_params["id"]
        if model := self._remote.find(name):
            return _json(_remote_entry(model))
        cached = await self._models.cached(name)
        return _json(await self._entry(cached))

    async def _entry(self, cached: CachedModel) -> ModelEntry:
        variant = cached.variant
        family = await self._families.of(str(cached.path))
        workers = self._client.status.workers if self._client.status else ()
        told = [w.serving[variant.id] for w in workers if variant.id in w.serving]
        return ModelEntry(
            id=variant.id,
            created=variant.created_at,
            owned_by=variant.publisher,
            parent=variant.alias,
            max_input_tokens=variant.context_length,
            max_output_tokens=variant.max_output_tokens,
            context_length=variant.context_length,
            loaded=any(variant.id in worker.resident for worker in workers),
            display_name=variant.display_name,
            created_at=rfc3339(variant.created_at),
            tool_calling=family.template_takes_tools,  # others are told of tools in words
            engine=told[0].engine if told else msgspec.UNSET,
            engine_reason=(told[0].why if told else "") or msgspec.UNSET,
            kv_cache=(told[0].kv_cache if told else "") or msgspec.UNSET,
            quality=cached.quality or msgspec.UNSET,
        )


def _json(body: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _remote_entry(model: RemoteModel) -> ModelEntry:
    return ModelEntry(
        id=model.name,
        created=model.since,
        owned_by=model.kind,
        parent=model.name,
        max_input_tokens=0,
        max_output_tokens=0,
        context_length=0,
        loaded=True,
        display_name=model.name,
        created_at=rfc3339(model.since),
    )
