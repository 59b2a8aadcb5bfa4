"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.cache.store import CachedModel
from cupola.gateway.access.client import current_client
from cupola.gateway.core.remote_models import RemoteModel
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import MODEL
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.timestamps import rfc3339
from cupola.gateway.openai.answers import ModelEntry, ModelList
from cupola.gateway.openapi.described import Operation, Query, Section, get


class ModelEndpoints:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._client = dependencies.client
        self._models = dependencies.models
        self._formats = dependencies.formats
        self._remote = dependencies.remote

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
        remote = [model for model in self._remote.all() if current_client().may_use(model.name)]
        every = (*local, *map(_remote_entry, remote))
        ids = [entry.id for entry in every]
        return json_answer(ModelList(every, ids[0] if ids else None, ids[-1] if ids else None))

    async def show(self, request: Request) -> Response:
        name = request.path_params["id"]
        model = self._remote.find(name)
        if model is not None and current_client().may_use(model.name):
            return json_answer(_remote_entry(model))
        cached = await self._models.cached(name)
        return json_answer(await self._entry(cached))

    async def _entry(self, cached: CachedModel) -> ModelEntry:
        variant = cached.variant
        answer_format = await self._formats.of(str(cached.path))
        status = self._client.status
        workers = status.workers if status else ()
        refused = status.refused if status else {}
        serving = [w.serving[variant.id] for w in workers if variant.id in w.serving]
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
            tool_calling=answer_format.chats,
            engine=serving[0].engine if serving else msgspec.UNSET,
            engine_reason=(serving[0].why if serving else "") or msgspec.UNSET,
            kv_cache=(serving[0].kv_cache if serving else "") or msgspec.UNSET,
            kept_bytes=sum(each.kept_bytes for each in serving) if serving else msgspec.UNSET,
            load_error=refused.get(variant.id, msgspec.UNSET),
            reproducible=_known(serving[0].reproducible if serving else None),
            quality=cached.quality or msgspec.UNSET,
        )


def _known(fact: bool | None) -> bool | msgspec.UnsetType:
    return msgspec.UNSET if fact is None else fact


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
