"""The way from the model that a request names to one on the disk."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import anyio.to_thread
import msgspec

from cupola.cache.catalog import ExecutionProvider, ModelVariant, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.store import CachedModel, ModelCache
from cupola.gateway.access.client import current_client
from cupola.gateway.http.errors import ApiError, not_cached, unknown_model
from cupola.scheduler.protocol.tasks import LocalModel

FRESH = 5.0  # seconds for which a name that was found need not be looked for again
LOOKING = 1.0  # seconds for which it stays as it was while one request looks for it again
MAX_REMEMBERED = 1000
LATEST = ":latest"  # Ollama's clients, and those that know it, add it to names without a tag

Key = tuple[str, ExecutionProvider | None]


class ModelDirectory:
    """Finds models by id, name or alias. The disk is read in threads, and not for each request.

    For each request it is only asked whether the model's folder is still there.
    """

    def __init__(self, cache: ModelCache, default: str = "", context: int = 0) -> None:
        """``default``: the name of the model that is meant where none is named.

        ``context``: the most tokens that workers serve; 0: as many as the model has.
        """
        self._cache = cache
        self._default = default
        self._context = context
        self._found: dict[Key, tuple[float, LocalModel, str]] = {}  # the last is the alias

    async def find(self, name: str, provider: ExecutionProvider | None = None) -> LocalModel:
        """The model that ``name`` means; empty: the default.

        ``provider``: only a variant built for it will do.
        Raises ApiError when this machine cannot run it.
        """
        name = name or self._default
        key = (name, provider)
        expires_at, model, alias = self._found.get(key, (0.0, None, ""))
        allowed = model is not None and current_client().may_use(model.id, alias)
        now = time.monotonic()
        if model is not None and allowed and expires_at >= now and not _has_gone(model):
            return model
        if model is not None:
            # One request looks. If those that come meanwhile did so as well, their threads would
            # hold each other up, and the loop.
            self._found[key] = (now + LOOKING, model, alias)
        try:
            cached = await (self.cached(name) if provider is None else self._built_for(*key))
        except BaseException:
            self._found.pop(key, None)
            raise
        model = LocalModel(cached.variant.id, str(cached.path), cached.variant.provider)
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        self._found[key] = (time.monotonic() + FRESH, model, cached.variant.alias)
        return model

    async def _built_for(self, name: str, provider: ExecutionProvider | None) -> CachedModel:
        best = await self.cached(name)  # or the error for a name that means nothing
        for cached in (best, *await self.on_disk()):
            same = cached.variant.alias == best.variant.alias
            if same and cached.variant.provider is provider:
                return cached
        text = f"The model '{name}' is not on this machine in a variant for {provider}"
        raise ApiError(404, "model_not_found", text, param="ep")

    async def lookup(self, key: str) -> CachedModel:
        """As ``ModelCache.find``: raises UnknownModelError, NotCachedError.

        A model that the client's key must not use is unknown to it.
        """
        found = await anyio.to_thread.run_sync(self._cache.find, key.removesuffix(LATEST))
        if not _may_use(found):
            raise UnknownModelError(key, [])
        return self._served(found)

    async def cached(self, key: str) -> CachedModel:
        try:
            return await self.lookup(key)
        except UnknownModelError as unknown:
            raise unknown_model(unknown) from None
        except NotCachedError as missing:
            raise not_cached(missing.variant.id) from None

    async def on_disk(self) -> list[CachedModel]:
        """Every model on the disk that the client may use, best first."""
        found = await anyio.to_thread.run_sync(self._cache.scan)
        return [self._served(cached) for cached in found if _may_use(cached)]

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
        runnable = (each for each in catalog if each.provider in self._cache.providers)
        return [*map(self._limited, runnable)]

    def _served(self, cached: CachedModel) -> CachedModel:
        return replace(cached, variant=self._limited(cached.variant))

    def _limited(self, variant: ModelVariant) -> ModelVariant:
        """The variant with the context that workers serve."""
        if not self._context:
            return variant
        return msgspec.structs.replace(
            variant,
            context_length=min(variant.context_length, self._context),
            max_output_tokens=min(variant.max_output_tokens, self._context),
        )


def _has_gone(model: LocalModel) -> bool:
    return not os.path.isdir(model.path)


def _may_use(cached: CachedModel) -> bool:
    return current_client().may_use(cached.variant.id, cached.variant.alias)
