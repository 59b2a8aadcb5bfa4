"""Whether the service lives and can serve, and how to end it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import Any, Literal, NotRequired, TypedDict

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.scheduler_client import STALE, SchedulerClient
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.openapi.described import Operation, Section, get, post


class HealthAnswer(TypedDict):
    status: Literal["ok", "shutting_down"]


class ReadyAnswer(TypedDict):
    status: Literal["ready", "unavailable"]
    missing: list[str]
    queued: NotRequired[int]
    running: NotRequired[int]
    processes: NotRequired[dict[str, int]]  # their ids


class StatusAnswer(TypedDict):
    endpoints: list[str]
    modelCachePath: str
    pid: int


def about(summary: str, answer: Any) -> Operation:
    return Operation(Section.SERVICE, summary, answer=answer)


class HealthApi:
    def __init__(
        self,
        client: SchedulerClient,
        *,
        url: str,
        models_path: str,
        supervisor_pid: int,
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._url = url
        self._models_path = models_path
        self._supervisor_pid = supervisor_pid
        self._tell = tell

    def routes(self) -> list[Route]:
        machine = "Only for clients on the same machine. Running answers get time to finish."
        return [
            get("/health", self.health, about("Whether the gateway lives", HealthAnswer)),
            get(
                "/ready",
                self.ready,
                Operation(
                    Section.SERVICE,
                    "Whether requests can be served",
                    "503 with the same object while they cannot.",
                    answer=ReadyAnswer,
                    also={503: ReadyAnswer},
                ),
            ),
            get("/status", self.status, about("Where the service and its files are", StatusAnswer)),
            post(
                "/shutdown",
                self.shutdown,
                Operation(
                    Section.SERVICE,
                    "End the service",
                    machine,
                    answer=HealthAnswer,
                    errors=("forbidden",),
                ),
            ),
        ]

    async def health(self, request: Request) -> Response:
        return json_answer({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        status = self._client.status
        if status is None or self._client.status_age > STALE:
            missing = ["the scheduler does not answer"]
            return json_answer({"status": "unavailable", "missing": missing}, status=503)
        missing = [f"worker {name}" for name in status.missing]
        if not status.workers:
            return json_answer(
                {"status": "unavailable", "missing": missing or ["a worker"]}, status=503
            )
        processes = {"gateway": os.getpid(), "scheduler": status.pid}
        processes |= {f"worker {worker.name}": worker.pid for worker in status.workers}
        running = sum(worker.running for worker in status.workers)
        return json_answer(
            {
                "status": "ready",
                "missing": missing,
                "queued": status.queued,
                "running": running,
                "processes": processes,
            }
        )

    async def status(self, request: Request) -> Response:
        """Foundry Local's status document."""
        return json_answer(
            {
                "endpoints": [self._url],
                "modelCachePath": self._models_path,
                "pid": self._supervisor_pid,
            }
        )

    async def shutdown(self, request: Request) -> Response:
        if not _from_this_machine(request):
            raise ApiError(403, "forbidden", "Only a client on the same machine may do this")
        told = BackgroundTask(self._tell, "shutdown")
        return json_answer({"status": "shutting_down"}, background=told)


def _from_this_machine(request: Request) -> bool:
    if "forwarded" in request.headers or "x-forwarded-for" in request.headers:
        return False  # a proxy on this machine speaks for somebody else
    try:
        # Only a Unix socket has no address.
        return request.client is None or ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
