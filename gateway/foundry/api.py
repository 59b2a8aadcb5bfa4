"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from starlette.routing import Route

from cupola.gateway.foundry import operations
from cupola.gateway.foundry.count import FoundryCountApi
from cupola.gateway.foundry.download import FoundryDownloadApi
from cupola.gateway.foundry.list import FoundryListApi
from cupola.gateway.foundry.load import FoundryLoadApi
from cupola.gateway.foundry.providers import ProvidersApi
from cupola.gateway.foundry.register import FoundryRegisterApi
from cupola.gateway.foundry.status import FoundryStatusApi
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.openapi.described import delete, get, post


class FoundryApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._dependencies = dependencies

    def routes(self) -> list[Route]:
        given = self._dependencies
        listing = FoundryListApi(given.models, given.formats, given.remote)
        loading = FoundryLoadApi(given.client, given.models, given.remote)
        downloading = FoundryDownloadApi(given.models, given.remote, given.downloads)
        counting = FoundryCountApi(given.client, given.models, given.formats)
        registering = FoundryRegisterApi(
            given.remote, given.models, given.config.remote_hosts, given.notify
        )
        providers = ProvidersApi(given.client, given.discover)
        status = FoundryStatusApi(given.client, given.config.url, given.config.models_path)

        return [
            get("/foundry/list", listing.catalog, operations.LIST),
            get("/foundry/cache", status.cache, operations.LOCATION),
            get("/openai/status", status.status, operations.STATUS),
            get("/openai/providers", providers.list, operations.PROVIDERS),
            get("/openai/models", listing.cached, operations.CACHED),
            post("/openai/download", downloading.download, operations.DOWNLOAD),
            get("/openai/loadedmodels", loading.loaded, operations.LOADED),
            get("/openai/load/{name:path}", loading.load, operations.LOAD),
            get("/openai/unload/{name:path}", loading.unload, operations.UNLOAD),
            get("/openai/unloadall", loading.unload_all, operations.UNLOAD_ALL),
            get("/openai/getgpudevice", status.gpu_device, operations.GPU),
            get("/openai/setgpudevice/{device}", status.set_gpu_device, operations.SET_GPU),
            post("/v1/chat/completions/tokenizer/encode/count", counting.count, operations.COUNT),
            post("/openai/register", registering.register, operations.REGISTER),
            delete("/openai/register/{name:path}", registering.unregister, operations.UNREGISTER),
            get("/models/loaded", loading.loaded, operations.LOADED),
            get("/models/load/{name:path}", loading.load_now, operations.LOAD_NOW),
            get("/models/unload/{name:path}", loading.unload_now, operations.UNLOAD_NOW),
        ]
