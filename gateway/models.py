"""GET /v1/models and /v1/models/{id}, and the way from a request's model to one on the disk."""

from __future__ import annotations

import time

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.cache.catalog import ExecutionProvider, ModelVariant, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.store import CachedModel, ModelCache
from cupola.gateway.error_codes import MODEL
from cupola.gateway.errors import ApiError, not_cached, unknown_model
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.foundry_remote import RemoteModels
from cupola.gateway.openapi.described import Operation, Query, Section, get
from cupola.gateway.scheduler_client import SchedulerClient
from cupola.gateway.schemas.answers import ModelEntry, ModelList
from cupola.gateway.timestamps import rfc3339
from cupola.scheduler.messages import LocalModel

FRESH = 5.0  # seconds for which a name that was found need not be looked for again
MAX_REMEMBERED = 1000

Key = tuple[str, ExecutionProvider | None]


class ModelDirectory:
    """Finds models by id, name or alias. The disk is read in threads, and not for each request."""

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache
        self._found: dict[Key, tuple[float, LocalModel]] = {}

    async def find(self, name: str, provider: ExecutionProvider | None = None) -> LocalModel:
        """The model that ``name`` means. ``provider``: only a variant built for it will do.

        Raises ApiError when this machine cannot run it.
        """
        key = (name, provider)
        expires_at, model = self._found.get(key, (0.0, None))
        if model is None or expires_at < time.monotonic():
            cached = await (self.cached(name) if provider is None else self._built_for(*key))
            model = LocalModel(cached.variant.id, str(cached.path), cached.variant.provider)
            if len(self._found) >= MAX_REMEMBERED:
                self._found.clear()
            self._found[key] = (time.monotonic() + FRESH, model)
        return model

    async def _built_for(self, name: str, provider: ExecutionProvider | None) -> CachedModel:
        best = (await self.cached(name)).variant  # or the error for a name that means nothing
        scanned = await anyio.to_thread.run_sync(self._cache.scan)
        for cached in scanned:
            if cached.variant.alias == best.alias and cached.variant.provider is provider:
                return cached
        text = f"The model '{name}' is not on this machine in a variant for {provider}"
        raise ApiError(404, "model_not_found", text, param="ep")

    async def lookup(self, key: str) -> CachedModel:
        """As ``ModelCache.find``: raises UnknownModelError, NotCachedError."""
        return await anyio.to_thread.run_sync(self._cache.find, key)

    async def cached(self, key: str) -> CachedModel:
        try:
            return await self.lookup(key)
        except UnknownModelError as unknown:
            raise unknown_model(unknown) from None
        except NotCachedError as missing:
            raise not_cached(missing.variant.id) from None

    async def on_disk(self) -> list[CachedModel]:
        """Every model on the disk, best first."""
        return await anyio.to_thread.run_sync(self._cache.scan)

    async def runnable(self) -> list[CachedModel]:
        """Those that this machine can run."""
        providers = self._cache.providers
        return [cached for cached in await self.on_disk() if cached.variant.provider in providers]

    async def variants(self) -> list[ModelVariant]:
        """Their variants."""
        return [cached.variant for cached in await self.on_disk()]

    async def catalog(self) -> list[ModelVariant]:
        """Every variant that can be had and run, on the disk or not, best first."""
        catalog = await anyio.to_thread.run_sync(self._cache.catalog)
        return [variant for variant in catalog if variant.provider in self._cache.providers]


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
        every = (*local, *(model.entry for model in self._remote.all()))
        ids = [entry.id for entry in every]
        return _json(ModelList(every, ids[0] if ids else None, ids[-1] if ids else None))

    async def show(self, request: Request) -> Response:
        name = request.path_params["id"]
        if model := self._remote.find(name):
            return _json(model.entry)
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
            quality=cached.figures or msgspec.UNSET,
        )


def _json(body: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
