"""GET /metrics."""

from __future__ import annotations

import os

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.openapi.described import TEXT, Operation, Section, get
from cupola.gateway.operations.process_memory import memory_of
from cupola.scheduler.protocol.messages import Status

MEDIA_TYPE = f"{TEXT}; version=0.0.4; charset=utf-8"


class MetricsApi:
    def __init__(self, client: SchedulerClient, supervisor_pid: int) -> None:
        self._client = client
        self._supervisor_pid = supervisor_pid

    def routes(self) -> list[Route]:
        about = "Requests, tokens, times, memory; in Prometheus's text format."
        described = Operation(Section.SERVICE, "Metrics", about, answer=str, media=TEXT)
        return [get("/metrics", self.metrics, described)]

    async def metrics(self, request: Request) -> Response:
        status = await self._client.status_now()
        processes = {"supervisor": self._supervisor_pid, **_processes(status)}
        from cupola.gateway.operations.metrics import render  # few services are ever asked

        memory = await anyio.to_thread.run_sync(memory_of, processes)
        return Response(render(status, memory), headers={"content-type": MEDIA_TYPE})


def _processes(status: Status | None) -> dict[str, int]:
    """The ids of those that the scheduler knows, and of this one."""
    if status is None:
        return {f"gateway {os.getpid()}": os.getpid()}
    return {
        "scheduler": status.pid,
        **{f"gateway {pid}": pid for pid in {os.getpid(), *status.gateways}},
        **{f"worker {worker.name}": worker.pid for worker in status.workers},
    }
