"""The SDK for asyncio: the same methods as coroutines.

The calls are few and wait for a service on the same machine, so each runs in a thread; a task that
is cancelled no longer waits for its call.
"""

from __future__ import annotations

import os
from asyncio import to_thread
from types import TracebackType

from cupola.cache.catalog import DeviceType
from cupola.client.sdk.connection import Connection, OnProgress, Timeout
from cupola.client.sdk.model_manager import DEFAULT_TTL, ModelManager
from cupola.client.sdk.records import FoundryModelInfo


class AsyncFoundryLocalManager:
    """See FoundryLocalManager. Made by ``create``, or by the builder's ``build_async``."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @classmethod
    async def create(
        cls,
        alias_or_model_id: str | None = None,
        device: DeviceType | None = None,
        bootstrap: bool = True,
        timeout: Timeout = None,  # noqa: ASYNC109  (of each answer, as in the constructor)
        *,
        home: str | os.PathLike[str] | None = None,
    ) -> AsyncFoundryLocalManager:
        """What the constructor of FoundryLocalManager does."""
        return cls(
            await to_thread(ModelManager, alias_or_model_id, device, bootstrap, timeout, home=home)
        )

    async def __aenter__(self) -> AsyncFoundryLocalManager:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def service_uri(self) -> str:
        return self._manager.service_uri

    @property
    def endpoint(self) -> str:
        return self._manager.endpoint

    @property
    def api_key(self) -> str:
        return self._manager.api_key

    @property
    def client(self) -> Connection | None:
        return self._manager.client

    @property
    def timeout(self) -> float | None:
        return self._manager.timeout

    @property
    def catalog_list(self) -> list[FoundryModelInfo] | None:
        return self._manager.catalog_list

    @property
    def catalog_dict(self) -> dict[str, FoundryModelInfo] | None:
        return self._manager.catalog_dict

    async def close(self) -> None:
        await to_thread(self._manager.close)

    async def is_service_running(self) -> bool:
        return await to_thread(self._manager.is_service_running)

    async def start_service(self) -> None:
        await to_thread(self._manager.start_service)

    async def stop_service(self) -> None:
        await to_thread(self._manager.stop_service)

    async def list_catalog_models(self) -> list[FoundryModelInfo]:
        return await to_thread(self._manager.list_catalog_models)

    def refresh_catalog(self) -> None:
        self._manager.refresh_catalog()

    async def get_model_info(
        self,
        alias_or_model_id: str,
        device: DeviceType | None = None,
        raise_on_not_found: bool = False,
    ) -> FoundryModelInfo | None:
        return await to_thread(
            self._manager.get_model_info, alias_or_model_id, device, raise_on_not_found
        )

    async def get_cache_location(self) -> str:
        return await to_thread(self._manager.get_cache_location)

    async def list_cached_models(self) -> list[FoundryModelInfo]:
        return await to_thread(self._manager.list_cached_models)

    async def download_model(
        self,
        alias_or_model_id: str,
        device: DeviceType | None = None,
        token: str | None = None,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> FoundryModelInfo:
        """``on_progress`` is called in a thread."""
        return await to_thread(
            self._manager.download_model, alias_or_model_id, device, token, force, on_progress
        )

    async def is_model_upgradeable(
        self, alias_or_model_id: str, device: DeviceType | None = None
    ) -> bool:
        return await to_thread(self._manager.is_model_upgradeable, alias_or_model_id, device)

    async def upgrade_model(
        self,
        alias_or_model_id: str,
        device: DeviceType | None = None,
        token: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> FoundryModelInfo:
        """``on_progress`` is called in a thread."""
        return await to_thread(
            self._manager.upgrade_model, alias_or_model_id, device, token, on_progress
        )

    async def load_model(
        self, alias_or_model_id: str, device: DeviceType | None = None, ttl: int = DEFAULT_TTL
    ) -> FoundryModelInfo:
        return await to_thread(self._manager.load_model, alias_or_model_id, device, ttl)

    async def unload_model(
        self, alias_or_model_id: str, device: DeviceType | None = None, force: bool = False
    ) -> None:
        await to_thread(self._manager.unload_model, alias_or_model_id, device, force)

    async def list_loaded_models(self) -> list[FoundryModelInfo]:
        return await to_thread(self._manager.list_loaded_models)
