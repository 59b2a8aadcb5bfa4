"""GET /admin/state: everything that the scheduler knows, as one JSON object."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.errors import RequestFailed
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.openapi.described import Operation, Section, get
from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.status import Totals, WorkerStatus


class ModelState(msgspec.Struct, frozen=True):
    id: str
    engine: str
    kv_usage: float  # of the room for keys and values; 1: all
    expires_in: float | None  # seconds until it is unloaded if unused; null: not by time


class WorkerState(msgspec.Struct, frozen=True):
    name: str
    provider: str
    pid: int
    running: int  # requests
    slots: int
    memory_bytes: int
    loading: tuple[str, ...]
    leaving: bool  # it gets no further work
    models: tuple[ModelState, ...]


class ServiceState(msgspec.Struct, frozen=True):
    """``totals`` count since the scheduler started, and begin again when it does."""

    queued: int
    oldest_seconds: float  # how long the oldest request in the queue has waited
    workers: tuple[WorkerState, ...]
    missing: tuple[str, ...]  # workers that do not run
    stopped: tuple[str, ...]  # workers that an operator has stopped
    refused: dict[str, str]  # models that are not loaded for a while, and why
    totals: Totals
    http: dict[str, int]  # answers by status


class StateApi:
    def __init__(self, client: SchedulerClient) -> None:
        self._client = client

    def routes(self) -> list[Route]:
        about = Operation(
            Section.SERVICE,
            "The state of the queue, the workers and their models",
            "`cupola top` shows it.",
            answer=ServiceState,
            errors=("forbidden", "scheduler_lost"),
            admin=True,
        )
        return [get("/admin/state", self.state, about)]

    async def state(self, request: Request) -> Response:
        status = await self._client.status_now()
        if status is None:
            text = "the scheduler does not answer; it is being restarted, try again"
            raise RequestFailed(ErrorCode.SCHEDULER_LOST, text)
        return json_answer(
            ServiceState(
                queued=status.queued,
                oldest_seconds=round(status.oldest_seconds, 3),
                workers=tuple(map(_worker, status.workers)),
                missing=status.missing,
                stopped=status.stopped,
                refused=status.refused,
                totals=status.totals,
                http={str(code): count for code, count in status.http.items()},
            )
        )


def _worker(worker: WorkerStatus) -> WorkerState:
    return WorkerState(
        name=worker.name,
        provider=str(worker.provider),
        pid=worker.pid,
        running=worker.running,
        slots=worker.slots,
        memory_bytes=worker.memory_bytes,
        loading=worker.loading,
        leaving=worker.leaving,
        models=tuple(
            ModelState(model, serving.engine, serving.kv_usage, serving.expires_in)
            for model, serving in sorted(worker.serving.items())
        ),
    )
