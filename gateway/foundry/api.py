"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from starlette.routing import Route

from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry import descriptions
from cupola.gateway.foundry.count import FoundryCountApi
from cupola.gateway.foundry.download import FoundryDownloadApi
from cupola.gateway.foundry.load import FoundryLoadApi
from cupola.gateway.foundry.models import FoundryModelsApi
from cupola.gateway.foundry.providers import FoundryProvidersApi
from cupola.gateway.foundry.register import FoundryRegisterApi
from cupola.gateway.foundry.status import FoundryStatusApi
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.openapi.described import delete, get, post
from cupola.gateway.toolcalls.directory import FamilyDirectory
from cupola.scheduler.protocol.messages import ProviderState


def foundry_routes(
    client: SchedulerClient,
    models: ModelDirectory,
    families: FamilyDirectory,
    remote: RemoteModels,
    downloads: Downloads,
    notify: Callable[[str], None],
    discover: Callable[[], Sequence[ProviderState]],
    *,
    url: str,
    models_path: str,
    remote_hosts: Collection[str],
) -> list[Route]:
    """``remote``: where registered models go; ``remote_hosts``: where they may be besides here.

    ``notify`` sends a line to the supervisor. ``discover`` tries the runtime's execution providers.
    """
    listing = FoundryModelsApi(models, families, remote)
    loading = FoundryLoadApi(client, models, remote)
    downloading = FoundryDownloadApi(models, remote, downloads)
    counting = FoundryCountApi(client, models, families)
    registering = FoundryRegisterApi(remote, models, remote_hosts, notify)
    providers = FoundryProvidersApi(client, discover)
    status = FoundryStatusApi(client, url, models_path)

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
