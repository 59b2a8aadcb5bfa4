"""The scheduler's records of requests and workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import NamedTuple, cast

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    ANY_TURN,
    BYTES_PER_TOKEN,
    Heartbeat,
    LoadModel,
    Outputs,
    Submit,
    ToGateway,
    ToWorker,
)
from cupola.scheduler.protocol.status import Serving, WorkerStatus
from cupola.scheduler.protocol.tasks import LocalModel

MAX_ATTEMPTS = 3  # a request that makes its worker crash must not reach every worker

Peer = bytes  # a ZeroMQ identity


class Send(NamedTuple):
    """A message to be sent, and to whom."""

    peer: Peer
    message: ToGateway | ToWorker


def joined(sends: list[Send]) -> list[Send]:
    """The same with fewer messages: outputs that go to a gateway one after the other are one."""
    if len(sends) < 2:
        return sends
    fewer: list[Send] = []
    for (peer, kind), group in groupby(sends, key=lambda send: (send.peer, type(send.message))):
        if kind is Outputs:
            messages = cast(Iterator[Outputs], (send.message for send in group))
            outputs = chain.from_iterable(message.outputs for message in messages)
            fewer.append(Send(peer, Outputs(tuple(outputs))))
        else:
            fewer += group
    return fewer


@dataclass(slots=True, eq=False)
class Request:
    """What one worker shall do for a gateway. It waits while ``worker`` is None, else it runs."""

    gateway: Peer
    message: Submit | LoadModel
    arrival: int  # rises from request to request
    since: float  # when it came
    deadline: float  # until when it may wait
    worker: Worker | None = field(default=None, repr=False)
    started: bool = False  # the client has got output, so it cannot run again elsewhere
    attempts: int = 0  # how many workers it was sent to
    suspect: bool = False  # it may have ended a worker
    heard_of_failure: bool = False  # of the load that it waits for
    charged: bool = False  # its prompt counts as served
    output_at: float | None = None  # when its last output came
    # What its message says. Each is asked for many times.
    id: str = field(init=False)
    model: LocalModel = field(init=False)
    kind: ExecutionProvider = field(init=False)  # which workers can run it
    client: str = field(init=False)
    priority: int = field(init=False)
    beginnings: tuple[bytes, ...] = ()  # digests of the prompt's beginnings, the shortest first
    size: int = 0  # about how many tokens its prompt has

    def __post_init__(self) -> None:
        message, turn = self.message, ANY_TURN
        if isinstance(message, Submit):
            turn = message.turn
            self.beginnings = message.beginnings
            # Of text, how long it is on the wire tells that.
            self.size = message.size or len(bytes(message.work)) // BYTES_PER_TOKEN
        self.id, self.model, self.kind = message.request_id, message.model, message.model.provider
        self.client, self.priority = turn.client, turn.priority

    @property
    def returned(self) -> bool:
        """Whether it was on a worker already, which is gone."""
        return self.attempts > 0

    @property
    def may_run_again(self) -> bool:
        """Whether it may go to another worker when it has lost its own."""
        return not self.started and self.attempts < MAX_ATTEMPTS


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process. Which models it holds is a hint, renewed by its heartbeats."""

    peer: Peer
    name: str
    provider: ExecutionProvider
    pid: int
    slots: int
    heard_at: float  # when its last frame came
    memory_bytes: int = 0
    resident: frozenset[str] = frozenset()  # ids of the loaded models
    loading: frozenset[str] = frozenset()  # ids of the models that it loads or will load
    serving: dict[str, Serving] = field(default_factory=dict)  # how each loaded model is run
    running: dict[str, Request] = field(default_factory=dict)  # by request id
    postponed: set[str] = field(default_factory=set)  # ids of those of them that hold no slot
    spare: int = 0  # slots for clients that run nothing here
    leaving: bool = False  # it gets no further work
    only: frozenset[str] = frozenset()  # ids of the only models that it runs; empty: all

    def update(self, heartbeat: Heartbeat) -> None:
        self.memory_bytes = heartbeat.memory_bytes or self.memory_bytes
        self.resident = frozenset(heartbeat.resident)
        self.loading = frozenset(heartbeat.loading)
        self.serving = heartbeat.serving
        self.slots = heartbeat.slots or self.slots

    def runs(self, model_id: str) -> bool:
        """Whether the settings let it run the model."""
        return not self.only or model_id in self.only

    @property
    def free(self) -> int:
        """How many more requests it takes. Those that are postponed may all come back at once."""
        return max(0, self.slots - len(self.running) + len(self.postponed))

    def room_for(self, client: str) -> int:
        """How many more requests of a client it takes. The spare slots are for newcomers."""
        if (
            not self.spare
            or self.free > self.spare
            or all(request.client != client for request in self.running.values())
        ):
            return self.free
        return 0

    @property
    def holds(self) -> frozenset[str]:
        return self.resident | self.loading

    @property
    def loads(self) -> bool:
        """Whether it loads a model now."""
        return bool(self.loading - self.resident)

    @property
    def status(self) -> WorkerStatus:
        return WorkerStatus(
            name=self.name,
            provider=self.provider,
            pid=self.pid,
            running=len(self.running) - len(self.postponed),
            slots=self.slots,
            loading=tuple(sorted(self.loading - self.resident)),
            memory_bytes=self.memory_bytes,
            resident=tuple(sorted(self.resident)),
            serving=self.serving,
            leaving=self.leaving,
        )
