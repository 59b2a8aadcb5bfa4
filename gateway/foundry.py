"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.routing import Route

from cupola.cache.home import Home
from cupola.gateway import foundry_operations as said
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.foundry_count import FoundryCountApi
from cupola.gateway.foundry_download import FoundryDownloadApi
from cupola.gateway.foundry_jobs import Downloads
from cupola.gateway.foundry_list import FoundryListApi
from cupola.gateway.foundry_load import FoundryLoadApi
from cupola.gateway.foundry_register import FoundryRegisterApi
from cupola.gateway.foundry_remote import RemoteModels
from cupola.gateway.foundry_status import FoundryStatusApi
from cupola.gateway.models import ModelDirectory
from cupola.gateway.openapi.described import delete, get, post
from cupola.gateway.providers import ProvidersApi
from cupola.gateway.scheduler_client import SchedulerClient

if TYPE_CHECKING:
    from cupola.gateway.main import GatewayConfig


def foundry_routes(
    client: SchedulerClient,
    models: ModelDirectory,
    families: FamilyDirectory,
    config: GatewayConfig,
    remote: RemoteModels,
    downloads: Downloads,
    tell: Callable[[str], None],
) -> list[Route]:
    """``remote``: where registered models go. ``tell`` sends a line to the supervisor."""
    listing = FoundryListApi(models, families, remote)
    loading = FoundryLoadApi(client, models, remote)
    downloading = FoundryDownloadApi(models, remote, downloads)
    counting = FoundryCountApi(client, models, families)
    registering = FoundryRegisterApi(remote, models, config.remote_hosts, tell)
    providers = ProvidersApi(client)
    status = FoundryStatusApi(client, config.url, str(Home(config.home).models))

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
