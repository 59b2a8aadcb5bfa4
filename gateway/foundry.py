"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.routing import Route

from cupola.cache.home import Home
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
        Route("/foundry/list", listing.catalog),
        Route("/foundry/cache", status.cache),
        Route("/openai/status", status.status),
        Route("/openai/providers", providers.list),
        Route("/openai/models", listing.cached),
        Route("/openai/download", downloading.download, methods=["POST"]),
        Route("/openai/loadedmodels", loading.loaded),
        Route("/openai/load/{name:path}", loading.load),
        Route("/openai/unload/{name:path}", loading.unload),
        Route("/openai/unloadall", loading.unload_all),
        Route("/openai/getgpudevice", status.gpu_device),
        Route("/openai/setgpudevice/{device}", status.set_gpu_device),
        Route("/v1/chat/completions/tokenizer/encode/count", counting.count, methods=["POST"]),
        Route("/openai/register", registering.register, methods=["POST"]),
        Route("/openai/register/{name:path}", registering.unregister, methods=["DELETE"]),
        Route("/models/loaded", loading.loaded),
        Route("/models/load/{name:path}", loading.load_now),
        Route("/models/unload/{name:path}", loading.unload_now),
    ]
