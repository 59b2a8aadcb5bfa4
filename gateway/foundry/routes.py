"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from starlette.routing import Route

from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry import operations as said
from cupola.gateway.foundry.count import FoundryCountApi
from cupola.gateway.foundry.download import FoundryDownloadApi
from cupola.gateway.foundry.list import FoundryListApi
from cupola.gateway.foundry.load import FoundryLoadApi
from cupola.gateway.foundry.providers import ProvidersApi
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
    tell: Callable[[str], None],
    discover: Callable[[], Sequence[ProviderState]],
    *,
    url: str,
    models_path: str,
    remote_hosts: Collection[str],
) -> list[Route]:
    """``remote``: where registered models go; ``remote_hosts``: where they may be besides here.

    ``tell`` sends a line to the supervisor. ``discover`` tries the runtime's execution providers.
    """
    listing = FoundryListApi(models, families, remote)
    loading = FoundryLoadApi(client, models, remote)
    downloading = FoundryDownloadApi(models, remote, downloads)
    counting = FoundryCountApi(client, models, families)
    registering = FoundryRegisterApi(remote, models, remote_hosts, tell)
    providers = ProvidersApi(client, discover)
    status = FoundryStatusApi(client, url, models_path)

    return [
        get("/foundry/list", listing.catalog, said.LIST),
        get("/foundry/cache", status.cache, said.LOCATION),
        get("/openai/status", status.status, said.STATUS),
        get("/openai/providers", providers.list, said.PROVIDERS),
        get("/openai/models", listing.cached, said.CACHED),
        post("/openai/download", downloading.download, said.DOWNLOAD),
        get("/openai/loadedmodels", loading.loaded, said.LOADED),
        get("/openai/load/{name:path}", loading.load, said.LOAD),
        get("/openai/unload/{name:path}", loading.unload, said.UNLOAD),
        get("/openai/unloadall", loading.unload_all, said.UNLOAD_ALL),
        get("/openai/getgpudevice", status.gpu_device, said.GPU),
        get("/openai/setgpudevice/{device}", status.set_gpu_device, said.SET_GPU),
        post("/v1/chat/completions/tokenizer/encode/count", counting.count, said.COUNT),
        post("/openai/register", registering.register, said.REGISTER),
        delete("/openai/register/{name:path}", registering.unregister, said.UNREGISTER),
        get("/models/loaded", loading.loaded, said.LOADED),
        get("/models/load/{name:path}", loading.load_now, said.LOAD_NOW),
        get("/models/unload/{name:path}", loading.unload_now, said.UNLOAD_NOW),
    ]
