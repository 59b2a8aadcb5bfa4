"""The way from the model that a request names to one on the disk."""

from __future__ import annotations

import time

import anyio.to_thread

from cupola.cache.catalog import ExecutionProvider, ModelVariant, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.store import CachedModel, ModelCache
from cupola.gateway.http.errors import ApiError, not_cached, unknown_model
from cupola.scheduler.protocol.messages import LocalModel

FRESH = 5.0  # seconds for which a name that was found need not be looked for again
MAX_REMEMBERED = 1000
LATEST = ":latest"  # Ollama's clients, and those that know it, add it to names without a tag

Key = tuple[str, ExecutionProvider | None]


class ModelDirectory:
    """Finds models by id, name or alias. The disk is read in threads, and not for each request."""

    def __init__(self, cache: ModelCache, default: str = "") -> None:
        """``default``: the name of the model that is meant where none is named."""
        self._cache = cache
        self._default = default
        self._found: dict[Key, tuple[float, LocalModel]] = {}

    async def find(self, name: str, provider: ExecutionProvider | None = None) -> LocalModel:
        """The model that ``name`` means; empty: the default.

        ``provider``: only a variant built for it will do.
        Raises ApiError when this machine cannot run it.
        """
        name = name or self._default
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
        return await anyio.to_thread.run_sync(self._cache.find, key.removesuffix(LATEST))

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
