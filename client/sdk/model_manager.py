"""Finds or starts the service, and manages its models: all that the SDK's managers do."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from types import TracebackType
from typing import Self

from cupola.cache.catalog import DeviceType
from cupola.cache.home import Home
from cupola.client import daemon
from cupola.client import home as homes
from cupola.client.errors import (
    ModelNotDownloadedError,
    ModelNotFoundError,
    NotRunningError,
    ResponseError,
)
from cupola.client.running_service import RunningService, find
from cupola.client.sdk.connection import (
    NOT_DOWNLOADED,
    Connection,
    OnProgress,
    Timeout,
    seconds_of,
)
from cupola.client.sdk.records import FoundryModelInfo, by_name, catalog_of, select

DEFAULT_TTL = 600  # seconds


class ModelManager:
    """The local service and its models.

    With ``bootstrap`` the service is started if need be, and the model ``alias_or_model_id`` is
    downloaded and loaded. ``device`` chooses among an alias's variants. ``timeout`` is in seconds
    for each answer of the service (None: no limit), or an httpx.Timeout. ``home`` is the data
    folder.

    At the end of a ``with`` block the models that the manager has loaded are unloaded, unless a
    time to live keeps them, which is the default. The service runs on for other apps.
    """

    def __init__(
        self,
        alias_or_model_id: str | None = None,
        device: DeviceType | None = None,
        bootstrap: bool = True,
        timeout: Timeout = None,
        *,
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self._home = Home(Path(home).absolute()) if home is not None else homes.current()
        self._timeout = seconds_of(timeout)
        self._connection: Connection | None = None
        self._catalog: list[FoundryModelInfo] | None = None
        self._loaded: list[str] = []
        self.is_service_running()
        if bootstrap:
            self.start_service()
            if alias_or_model_id is not None:
                self.download_model(alias_or_model_id, device)
                self.load_model(alias_or_model_id, device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unload the models that this manager has loaded; see the class."""
        loaded, self._loaded = self._loaded, []
        if self.is_service_running():
            for model_id in loaded:
                self.unload_model(model_id)

    # -- the service -------------------------------------------------------------------------------

    @property
    def service_uri(self) -> str:
        """The service's address. Raises NotRunningError."""
        return self.httpx_client.url

    @property
    def endpoint(self) -> str:
        """The base URL for OpenAI clients. Raises NotRunningError."""
        return f"{self.service_uri}/v1"

    @property
    def api_key(self) -> str:
        """A key for OpenAI clients, which require one: that of the environment, or any text."""
        return os.environ.get("OPENAI_API_KEY") or "OPENAI_API_KEY"

    @property
    def httpx_client(self) -> Connection:
        """The connection to the service; the name is that of Foundry Local's SDK."""
        if self._connection is None:
            raise NotRunningError(
                "Service URI is not set. Please start the service first.", "Call start_service()"
            )
        return self._connection

    @property
    def client(self) -> Connection | None:
        """The same; None: the service was not found. The name is that of the SDK for Rust."""
        return self._connection

    @property
    def timeout(self) -> float | None:
        """Seconds to wait for each answer; None: no limit."""
        return self._timeout

    def is_service_running(self) -> bool:
        """Look for the service. Raises NoAnswerError when the program at its address is silent."""
        self._connect(daemon.find_or_await(self._home))
        return self._connection is not None

    def start_service(self) -> None:
        """Start the service if none runs. Raises ClientError when it does not start."""
        environment = {homes.VARIABLE: str(self._home.root)}
        self._connect(daemon.ensure_running(self._home, environment)[0])

    def stop_service(self) -> None:
        """Stop the service; running answers get its grace time to finish."""
        if service := find(self._home):
            daemon.stop(service)
        self._connect(None)

    # -- the catalog -------------------------------------------------------------------------------

    def list_catalog_models(self) -> list[FoundryModelInfo]:
        """The models of the catalog, in order of preference. The service is asked once."""
        if self._catalog is None:
            self._catalog = catalog_of(self.httpx_client.get("/foundry/list"))
        return self._catalog

    @property
    def catalog_list(self) -> list[FoundryModelInfo] | None:
        """What ``list_catalog_models`` has found; None: it has not asked yet."""
        return self._catalog

    @property
    def catalog_dict(self) -> dict[str, FoundryModelInfo] | None:
        """The same by id and alias."""
        return None if self._catalog is None else by_name(self._catalog)

    def refresh_catalog(self) -> None:
        """Ask for the catalog again the next time it is needed."""
        self._catalog = None

    def get_model_info(
        self,
        alias_or_model_id: str,
        device: DeviceType | None = None,
        raise_on_not_found: bool = False,
    ) -> FoundryModelInfo | None:
        """The model that a name means, or None, or ModelNotFoundError."""
        on_windows = platform.system() == "Windows"
        found = select(self.list_catalog_models(), alias_or_model_id, device, on_windows)
        if found is None and raise_on_not_found:
            raise _not_found(alias_or_model_id)
        return found

    # -- the cache ---------------------------------------------------------------------------------

    def get_cache_location(self) -> str:
        """The folder that the models are in."""
        return str(self.httpx_client.get("/openai/status")["modelDirPath"])

    def list_cached_models(self) -> list[FoundryModelInfo]:
        """The models on this disk."""
        return self._infos(self.httpx_client.get("/openai/models"))

    def download_model(
        self,
        alias_or_model_id: str,
        device: DeviceType | None = None,
        token: str | None = None,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> FoundryModelInfo:
        """Fetch a model unless it is on the disk; ``on_progress`` gets percentages.

        Raises ModelNotFoundError, DownloadError.
        """
        model = self._model(alias_or_model_id, device)
        if force or model not in self.list_cached_models():
            body = {"model": model.to_download_body(), "token": token, "IgnorePipeReport": True}
            if force:
                body["Force"] = True
            self.httpx_client.post_with_progress("/openai/download", body, on_progress)
        return model

    def is_model_upgradeable(
        self, alias_or_model_id: str, device: DeviceType | None = None
    ) -> bool:
        """Whether the newest version of a model is not on the disk. Raises ModelNotFoundError."""
        newest = self._newest(alias_or_model_id, device)
        return newest.number >= 0 and newest not in self.list_cached_models()

    def upgrade_model(
        self,
        alias_or_model_id: str,
        device: DeviceType | None = None,
        token: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> FoundryModelInfo:
        """Fetch the newest version of a model. Raises as ``download_model``."""
        newest = self._newest(alias_or_model_id, device)
        return self.download_model(newest.id, token=token, on_progress=on_progress)

    # -- models in memory --------------------------------------------------------------------------

    def load_model(
        self, alias_or_model_id: str, device: DeviceType | None = None, ttl: int = DEFAULT_TTL
    ) -> FoundryModelInfo:
        """Load a model; ``ttl`` seconds after its last use it is unloaded.

        Raises ModelNotFoundError, ModelNotDownloadedError.
        """
        model = self._model(alias_or_model_id, device)
        try:
            self.httpx_client.load(model.id, ttl, model.ep_override)
        except ResponseError as error:
            if NOT_DOWNLOADED not in str(error):
                raise
            raise ModelNotDownloadedError(
                f"Model {alias_or_model_id} has not been downloaded yet. Please download it first.",
                "Call download_model()",
            ) from None
        if model.id not in self._loaded:
            self._loaded.append(model.id)
        return model

    def unload_model(
        self, alias_or_model_id: str, device: DeviceType | None = None, force: bool = False
    ) -> None:
        """Unload a model if it is loaded; one with a time to live only by ``force``."""
        model = self._model(alias_or_model_id, device)
        if model in self.list_loaded_models():
            self.httpx_client.unload(model.id, force)

    def list_loaded_models(self) -> list[FoundryModelInfo]:
        """The models in memory."""
        return self._infos(self.httpx_client.loaded())

    # ----------------------------------------------------------------------------------------------

    def _connect(self, service: RunningService | None) -> None:
        self._connection = Connection(service.url, self._timeout) if service else None

    def _model(self, key: str, device: DeviceType | None) -> FoundryModelInfo:
        found = self.get_model_info(key, device)
        if found is None:
            raise _not_found(key)
        return found

    def _newest(self, key: str, device: DeviceType | None) -> FoundryModelInfo:
        return self._model(key.partition(":")[0], device)

    def _infos(self, ids: list[str]) -> list[FoundryModelInfo]:
        found = [self.get_model_info(model_id) for model_id in ids]
        return [model for model in found if model is not None]


def _not_found(key: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"Model {key} not found in the catalog.", "To see what there is: list_catalog_models()"
    )
