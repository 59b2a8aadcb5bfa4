"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from starlette.routing import Route

from cupola.gateway.foundry import descriptions
from cupola.gateway.foundry.count import FoundryCountApi
from cupola.gateway.foundry.download import FoundryDownloadApi
from cupola.gateway.foundry.load import FoundryLoadApi
from cupola.gateway.foundry.models import FoundryModelsApi
from cupola.gateway.foundry.providers import FoundryProvidersApi
from cupola.gateway.foundry.register import FoundryRegisterApi
from cupola.gateway.foundry.status import FoundryStatusApi
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.openapi.described import delete, get, post


class FoundryApi:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._dependencies = dependencies

    def routes(self) -> list[Route]:
        given = self._dependencies
        listing = FoundryModelsApi(given.models, given.formats, given.remote)
        loading = FoundryLoadApi(given.client, given.models, given.remote)
        downloading = FoundryDownloadApi(given.models, given.remote, given.downloads)
        counting = FoundryCountApi(given.counter)
        registering = FoundryRegisterApi(
            given.remote,
            given.models,
            given.config.remote_hosts,
            given.notify,
            [given.config.port, given.config.ollama_port],
        )
        providers = FoundryProvidersApi(given.client, given.discover)
        status = FoundryStatusApi(given.client, given.config.url, given.config.models_path)

        return [
            get("/foundry/list", listing.catalog, descriptions.LIST),
            get("/foundry/cache", status.cache, descriptions.LOCATION),
            get("/openai/status", status.status, descriptions.STATUS),
            get("/openai/providers", providers.list, descriptions.PROVIDERS),
            get("/openai/models", listing.cached, descriptions.CACHED),
            post("/openai/download", downloading.download, descriptions.DOWNLOAD),
            get("/openai/loadedmodels", loading.loaded, descriptions.LOADED),
            get("/openai/load/{name:path}", loading.load, descriptions.LOAD),
            get("/openai/unload/{name:path}", loading.unload, descriptions.UNLOAD),
            get("/openai/unloadall", loading.unload_all, descriptions.UNLOAD_ALL),
            get("/openai/getgpudevice", status.gpu_device, descriptions.GPU),
            get("/openai/setgpudevice/{device}", status.set_gpu_device, descriptions.SET_GPU),
            post("/v1/chat/completions/tokenizer/encode/count", counting.count, descriptions.COUNT),
            post("/openai/register", registering.register, descriptions.REGISTER),
            delete("/openai/register/{name:path}", registering.unregister, descriptions.UNREGISTER),
            get("/models/loaded", loading.loaded, descriptions.LOADED),
            get("/models/load/{name:path}", loading.load_now, descriptions.LOAD_NOW),
            get("/models/unload/{name:path}", loading.unload_now, descriptions.UNLOAD_NOW),
        ]
