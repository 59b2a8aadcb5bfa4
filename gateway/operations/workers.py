"""The operator's endpoints for the worker processes: list, add, drain, restart, remove.

What is wanted is checked against the scheduler's view and passed on to the supervisor. The answer
comes before it is done: GET /admin/workers tells how far it is.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.http.errors import ApiError, RequestFailed
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.openapi.described import Operation, Section, get, post
from cupola.scheduler.protocol.messages import ErrorCode, Status
from cupola.scheduler.protocol.pool import (
    MAX_WORKERS,
    AddWorker,
    Then,
    WorkerLeaves,
    change_line,
    device_of,
    free_name,
)


class WorkerPhase(StrEnum):
    SERVING = "serving"
    STARTING = "starting"  # its process starts, or is started again
    LEAVING = "leaving"  # it gets no further work, and finishes what it has
    STOPPED = "stopped"  # until it is started again


class WorkerEntry(msgspec.Struct, frozen=True):
    name: str
    state: WorkerPhase
    pid: int = 0  # 0: there is no process
    running: int = 0  # requests
    slots: int = 0
    memory_bytes: int = 0
    models: tuple[str, ...] = ()


class WorkersAnswer(msgspec.Struct, frozen=True):
    workers: tuple[WorkerEntry, ...]


class NamesAnswer(msgspec.Struct, frozen=True):
    """The workers that it is about."""

    names: tuple[str, ...]


class NewWorkersBody(BaseModel):
    """``device``: empty: that of the first worker. ``threads``: of each; 0: as the others have."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    device: str = Field(default="", max_length=40)
    count: int = Field(default=1, ge=1, le=MAX_WORKERS)
    threads: int = Field(default=0, ge=0, le=1024)


class WorkerBody(BaseModel):
    """``now``: its process is ended at once, and what it runs ends with an error."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: str = Field(max_length=40)
    now: bool = False


_ABOUT = {
    Then.DRAIN: (
        "Stop a worker",
        "It gets no further work and finishes what it has. Models that only it holds are loaded "
        "on another worker. Then its process ends, until the worker is restarted.",
    ),
    Then.RESTART: (
        "Start a worker anew",
        "It finishes what it has before that. A worker that was stopped is started.",
    ),
    Then.REMOVE: ("Remove a worker", "As with drain, but the worker is forgotten."),
}


class WorkersApi:
    """``notify`` sends a line to the supervisor."""

    def __init__(self, client: SchedulerClient, notify: Callable[[str], None]) -> None:
        self._client = client
        self._notify = notify

    def routes(self) -> list[Route]:
        common = ("forbidden", "scheduler_lost")
        listing = Operation(
            Section.SERVICE,
            "The worker processes",
            answer=WorkersAnswer,
            errors=common,
            admin=True,
        )
        adding = Operation(
            Section.SERVICE,
            "Start further workers",
            "They are like the first worker of their device, until the service ends.",
            body=NewWorkersBody,
            answer=NamesAnswer,
            errors=(*common, "worker_not_found", "too_many_workers"),
            admin=True,
        )
        return [
            get("/admin/workers", self.list, listing),
            post("/admin/workers", self.add, adding),
            *(self._leaving(then) for then in Then),
        ]

    def _leaving(self, then: Then) -> Route:
        summary, about = _ABOUT[then]
        errors = ["forbidden", "scheduler_lost", "worker_not_found"]
        if then is not Then.RESTART:
            errors.append("worker_needed")
        operation = Operation(
            Section.SERVICE,
            summary,
            about,
            body=WorkerBody,
            answer=NamesAnswer,
            errors=errors,
            admin=True,
        )
        return post(f"/admin/workers/{then}", partial(self.leave, then=then), operation)

    async def list(self, request: Request) -> Response:
        return json_answer(WorkersAnswer(_entries(await self._status())))

    async def add(self, request: Request) -> Response:
        body = await read_body(NewWorkersBody, request)
        names = [entry.name for entry in _entries(await self._status())]
        devices = list(dict.fromkeys(map(device_of, names)))
        device = body.device or next(iter(devices), "")
        if device and ":" not in device:
            device += ":0"
        if device not in devices:
            known = ", ".join(devices)
            text = f"No worker runs on '{device}', so there is none to be like; there are: {known}"
            raise ApiError(404, "worker_not_found", text, param="device")
        if len(names) + body.count > MAX_WORKERS:
            text = f"There are {len(names)} workers, and {MAX_WORKERS} are the most"
            raise ApiError(400, "too_many_workers", text, param="count")
        added: list[str] = []
        for _ in range(body.count):
            added.append(free_name(device, [*names, *added]))
            self._notify(change_line(AddWorker(device, body.threads)))
        return json_answer(NamesAnswer(tuple(added)))

    async def leave(self, request: Request, then: Then) -> Response:
        body = await read_body(WorkerBody, request)
        status = await self._status()
        entries = {entry.name: entry for entry in _entries(status)}
        if body.name not in entries:
            known = ", ".join(entries) or "none"
            text = f"There is no worker '{body.name}'; there are: {known}"
            raise ApiError(404, "worker_not_found", text, param="name")
        if then is not Then.RESTART and _is_last(body.name, status):
            text = f"'{body.name}' is the last worker of its kind; add another one first"
            raise ApiError(409, "worker_needed", text, param="name")
        self._notify(change_line(WorkerLeaves(body.name, then, body.now)))
        return json_answer(NamesAnswer((body.name,)))

    async def _status(self) -> Status:
        if (status := await self._client.status_now()) is None:
            text = "the scheduler does not answer; it is being restarted, try again"
            raise RequestFailed(ErrorCode.SCHEDULER_LOST, text)
        return status


def _is_last(name: str, status: Status) -> bool:
    """Whether nobody else of the same provider serves, or will without being asked."""
    kind = device_of(name).partition(":")[0]
    return not any(
        entry.name != name
        and device_of(entry.name).partition(":")[0] == kind
        and entry.state in (WorkerPhase.SERVING, WorkerPhase.STARTING)
        for entry in _entries(status)
    )


def _entries(status: Status) -> tuple[WorkerEntry, ...]:
    """By name."""
    here = [
        WorkerEntry(
            worker.name,
            WorkerPhase.LEAVING if worker.leaving else WorkerPhase.SERVING,
            worker.pid,
            worker.running,
            worker.slots,
            worker.memory_bytes,
            worker.resident,
        )
        for worker in status.workers
    ]
    starting = [WorkerEntry(name, WorkerPhase.STARTING) for name in status.missing]
    stopped = [WorkerEntry(name, WorkerPhase.STOPPED) for name in status.stopped]
    return tuple(sorted([*here, *starting, *stopped], key=lambda entry: _order(entry.name)))


def _order(name: str) -> tuple[str, int]:
    device, _, number = name.rpartition("/")
    return device, int(number) if number.isdecimal() else 0
