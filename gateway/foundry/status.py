"""What the service says of itself to clients of Foundry Local's first generation."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.json_answer import json_answer


class FoundryStatusApi:
    def __init__(self, client: SchedulerClient, url: str, models_path: str) -> None:
        self._client = client
        self._url = url
        self._models_path = models_path
        self._gpu_device = 0

    async def status(self, request: Request) -> Response:
        status = self._client.status
        workers = status.workers if status else ()
        providers = sorted({worker.provider for worker in workers} or {ExecutionProvider.CPU})
        return json_answer(
            {
                "endpoints": [self._url],
                "modelDirPath": self._models_path,
                "pipeName": None,
                "isAutoRegistrationResolved": True,
                "autoRegistrationStatus": f"Valid EPs: {', '.join(providers)}",
            }
        )

    async def cache(self, request: Request) -> Response:
        return json_answer({"location": self._models_path})

    async def gpu_device(self, request: Request) -> Response:
        return json_answer(self._gpu_device)

    async def set_gpu_device(self, request: Request) -> Response:
        """Remembered and told again, and no more: the ``workers`` setting says who uses which."""
        text = request.path_params["device"]
        if not text.isdecimal() or len(text) > 3:
            message = "The device must be a number from 0 to 999"
            raise ApiError(400, "invalid_value", message, param="device")
        self._gpu_device = int(text)
        return Response()
