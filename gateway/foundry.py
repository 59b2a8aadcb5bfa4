"""The routes of Foundry Local's four generations that OpenAI's API does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from cupola.cache.home import Home
from cupola.gateway.foundry_download import FoundryDownloadApi
from cupola.gateway.foundry_jobs import Downloads
from cupola.gateway.foundry_list import FoundryListApi
from cupola.gateway.foundry_load import FoundryLoadApi
from cupola.gateway.foundry_status import FoundryStatusApi
from cupola.gateway.models import ModelDirectory
from cupola.gateway.scheduler_client import SchedulerClient

if TYPE_CHECKING:
    from cupola.gateway.main import GatewayConfig


def foundry_routes(
    client: SchedulerClient, models: ModelDirectory, config: GatewayConfig
) -> list[Route]:
    listing = FoundryListApi(models)
    loading = FoundryLoadApi(client, models)
    downloading = FoundryDownloadApi(models, Downloads(Home(config.home)))
    status = FoundryStatusApi(client, config.url, str(Home(config.home).models))
    return [
        Route("/foundry/list", listing.catalog),
        Route("/foundry/cache", status.cache),
        Route("/openai/status", status.status),
        Route("/openai/models", listing.cached),
        Route("/openai/download", downloading.download, methods=["POST"]),
        Route("/openai/loadedmodels", loading.loaded),
        Route("/openai/load/{name:path}", loading.load),
        Route("/openai/unload/{name:path}", loading.unload),
        Route("/openai/unloadall", loading.unload_all),
        Route("/openai/getgpudevice", status.gpu_device),
        Route("/openai/setgpudevice/{device}", status.set_gpu_device),
        Route("/models/loaded", loading.loaded),
        Route("/models/load/{name:path}", loading.load_now),
        Route("/models/unload/{name:path}", loading.unload_now),
    ]
