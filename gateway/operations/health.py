"""Whether the service lives and can serve, and how to end it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.access.client import current_client
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.openapi.described import Operation, Section, get, post


class HealthAnswer(msgspec.Struct, frozen=True):
    status: Literal["ok", "shutting_down"]


class ReadyAnswer(msgspec.Struct, frozen=True):
    """``missing``: what does not answer. The rest is there while a worker can serve.

    ``refused``: why models are not loaded for a while, by their ids; absent if there are none.
    """

    status: Literal["ready", "unavailable"]
    missing: list[str]
    queued: int | msgspec.UnsetType = msgspec.UNSET
    running: int | msgspec.UnsetType = msgspec.UNSET
    processes: dict[str, int] | msgspec.UnsetType = msgspec.UNSET  # their ids
    refused: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class StatusAnswer(msgspec.Struct, frozen=True, rename="camel"):
    endpoints: list[str]
    model_cache_path: str
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
        notify: Callable[[str], None],
    ) -> None:
        """``notify`` sends a line to the supervisor."""
        self._client = client
        self._url = url
        self._models_path = models_path
        self._supervisor_pid = supervisor_pid
        self._notify = notify

    def routes(self) -> list[Route]:
        machine = "Running answers get time to finish."
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
                    admin=True,
                ),
            ),
        ]

    async def health(self, request: Request) -> Response:
        return json_answer(HealthAnswer("ok"))

    async def ready(self, request: Request) -> Response:
        if not current_client().known:
            return self._readiness()
        status = await self._client.status_now()
        if status is None:
            missing = ["the scheduler does not answer"]
            return json_answer(ReadyAnswer("unavailable", missing), status=503)
        missing = [f"worker {name}" for name in status.missing]
        if all(worker.leaving for worker in status.workers):
            missing += [f"worker {worker.name}, which is leaving" for worker in status.workers]
            return json_answer(ReadyAnswer("unavailable", missing or ["a worker"]), status=503)
        processes = {"gateway": os.getpid(), "scheduler": status.pid}
        processes |= {f"worker {worker.name}": worker.pid for worker in status.workers}
        running = sum(worker.running for worker in status.workers)
        refused = status.refused or msgspec.UNSET
        answer = ReadyAnswer("ready", missing, status.queued, running, processes, refused)
        return json_answer(answer)

    def _readiness(self) -> Response:
        """For a probe without a key: no names and no numbers."""
        status = self._client.status
        if status is not None and not all(worker.leaving for worker in status.workers):
            return json_answer(ReadyAnswer("ready", []))
        return json_answer(ReadyAnswer("unavailable", []), status=503)

    async def status(self, request: Request) -> Response:
        """Foundry Local's status document."""
        return json_answer(StatusAnswer([self._url], self._models_path, self._supervisor_pid))

    async def shutdown(self, request: Request) -> Response:
        end = BackgroundTask(self._notify, "shutdown")
        return json_answer(HealthAnswer("shutting_down"), background=end)
