"""What the service says of itself to clients of Foundry Local's first generation."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry.answers import CacheLocation, ServiceStatus
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.json_answer import json_answer

NO_GPU = -1
_DEVICE = re.compile(r":(\d+)")  # in a worker's name, e.g. "cuda:1/0"


class FoundryStatusApi:
    def __init__(self, client: SchedulerClient, url: str, models_path: str) -> None:
        self._client = client
        self._url = url
        self._models_path = models_path

    async def status(self, request: Request) -> Response:
        status = self._client.status
        workers = status.workers if status else ()
        providers = sorted({worker.provider for worker in workers} or {ExecutionProvider.CPU})
        answer = ServiceStatus(
            endpoint=self._url,
            endpoints=[self._url],
            model_dir_path=self._models_path,
            auto_registration_status=f"Valid EPs: {', '.join(providers)}",
        )
        return json_answer(answer)

    async def cache(self, request: Request) -> Response:
        return json_answer(CacheLocation(self._models_path))

    async def gpu_device(self, request: Request) -> Response:
        return json_answer(self._gpu())

    async def set_gpu_device(self, request: Request) -> Response:
        """Accepts the GPU in use. Workers have their devices from their start to their end."""
        text = request.path_params["device"]
        if not text.isdecimal() or len(text) > 3:
            message = "The device must be a number from 0 to 999"
            raise ApiError(400, "invalid_value", message, param="device")
        if int(text) != self._gpu():
            message = f"No model runs on GPU {int(text)}; the 'workers' setting chooses the devices"
            raise ApiError(400, "invalid_value", message, param="device")
        return Response()

    def _gpu(self) -> int:
        """The number of the first GPU that a worker runs on."""
        workers = self._client.status.workers if self._client.status else ()
        names = [worker.name for worker in workers if worker.provider != ExecutionProvider.CPU]
        numbers = [int(found[1]) for name in names if (found := _DEVICE.search(name))]
        return min(numbers, default=NO_GPU)
