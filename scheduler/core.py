"""The scheduler's decisions, without its socket or its clock.

``Scheduler.receive``, ``tick``, ``process_ended`` and ``unreachable`` take what happened and the
time, and return what to send. ``broker.py`` is the only caller that does I/O. The invariant: every
request of a gateway is answered by exactly one end, that is an ``Output`` with usage, a ``Done``
or a ``Rejected``, unless the gateway itself aborts it or goes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatchmethod
from typing import NamedTuple

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.placement import place
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    Goodbye,
    Heartbeat,
    LoadModel,
    Output,
    Outputs,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Status,
    Submit,
    ToGateway,
    ToScheduler,
    Totals,
    ToWorker,
    Unload,
    UnloadModel,
)
from cupola.scheduler.records import Peer, Request, Unloading, Worker
from cupola.scheduler.totals import counted

MAX_ATTEMPTS = 3  # a request that kills every worker it meets must not meet them all


class Send(NamedTuple):
    peer: Peer
    message: ToGateway | ToWorker


@dataclass(frozen=True, slots=True)
class SchedulerPolicy:
    """What an operator decides."""

    workers: dict[str, ExecutionProvider]  # the names that should be there
    queue_limit: int = 256
    queue_timeout: float = 300.0  # seconds
    lease: float = 10.0  # seconds of silence after which a peer is given up
    # As many more for a worker that loads a model: onnxruntime-genai stops the whole process while
    # it reads one. Of a worker that dies meanwhile the supervisor tells.
    loading_lease: float = 600.0


class Scheduler:
    def __init__(self, policy: SchedulerPolicy, epoch: str, pid: int = 0) -> None:
        self.policy = policy
        self.epoch = epoch
        self.pid = pid
        self.requests: dict[str, Request] = {}
        self.queue: dict[str, None] = {}  # request ids, oldest first
        self.workers: dict[Peer, Worker] = {}
        self.gateways: dict[Peer, float] = {}  # until when their lease runs
        self.unloading: dict[str, Unloading] = {}
        self._totals = Totals()
        self._changed = False  # what Status says differs from what gateways were told

    # -- inputs ------------------------------------------------------------------------------------

    def receive(self, peer: Peer, message: ToScheduler, now: float) -> list[Send]:
        if worker := self.workers.get(peer):
            worker.expires_at = now + self.policy.lease
        return self._settle(self._on(message, peer, now))

    def process_ended(self, name: str, now: float) -> list[Send]:
        """The supervisor saw the process of the worker called ``name`` end."""
        gone = [w for w in self.workers.values() if w.name == name]
        return self._settle([send for worker in gone for send in self._lose(worker)])

    def unreachable(self, peer: Peer, now: float) -> list[Send]:
        """A frame for ``peer`` could not be sent: it is gone."""
        if worker := self.workers.get(peer):
            return self._settle(self._lose(worker))
        return self._settle(self._forget(peer))

    def tick(self, now: float) -> list[Send]:
        sends: list[Send] = []
        for worker in [w for w in self.workers.values() if self._expires_at(w) <= now]:
            sends += self._lose(worker)
        for gateway in [peer for peer, expires_at in self.gateways.items() if expires_at <= now]:
            sends += self._forget(gateway)
        while self.queue and self.requests[next(iter(self.queue))].deadline <= now:
            waited = f"waited {self.policy.queue_timeout:g} s for a free worker; try again later"
            sends += self._reject(next(iter(self.queue)), ErrorCode.QUEUE_TIMEOUT, waited)
        return self._settle(sends)

    def next_deadline(self) -> float | None:
        deadlines = [self._expires_at(worker) for worker in self.workers.values()]
        deadlines += self.gateways.values()
        if self.queue:
            deadlines.append(self.requests[next(iter(self.queue))].deadline)
        return min(deadlines, default=None)

    # -- from gateways -----------------------------------------------------------------------------

    @singledispatchmethod
    def _on(self, message: ToScheduler, peer: Peer, now: float) -> list[Send]:
        raise TypeError(type(message))

    @_on.register
    def _(self, message: Submit | LoadModel, peer: Peer, now: float) -> list[Send]:
        self._greet(peer, now)
        request_id, provider = message.request_id, message.model.provider
        if request_id in self.requests:
            return []  # sent twice: the first stands
        if provider not in self.policy.workers.values():
            text = f"no worker runs {provider}; start one with --workers"
            return [Send(peer, Rejected(request_id, ErrorCode.NO_WORKER, text))]
        if len(self.queue) >= self.policy.queue_limit:
            text = f"{len(self.queue)} requests are waiting already; try again later"
            return [Send(peer, Rejected(request_id, ErrorCode.QUEUE_FULL, text))]
        self.requests[request_id] = Request(peer, message, now + self.policy.queue_timeout)
        self.queue[request_id] = None
        return []

    @_on.register
    def _(self, message: UnloadModel, peer: Peer, now: float) -> list[Send]:
        self._greet(peer, now)
        holders = {w.peer for w in self.workers.values() if message.model_id in w.holds}
        if not holders:
            return [Send(peer, Done(message.request_id))]
        self.unloading[message.request_id] = Unloading(peer, holders)
        return [
            Send(holder, Unload(message.request_id, message.model_id, message.force))
            for holder in sorted(holders)
        ]

    @_on.register
    def _(self, message: Abort, peer: Peer, now: float) -> list[Send]:
        request = self.requests.get(message.request_id)
        if request is None or request.gateway != peer:
            return []
        return self._drop(message.request_id)

    @_on.register
    def _(self, message: Query, peer: Peer, now: float) -> list[Send]:
        self._greet(peer, now)
        return [Send(peer, self.status())]

    # -- from workers ------------------------------------------------------------------------------

    @_on.register
    def _(self, message: Ready, peer: Peer, now: float) -> list[Send]:
        earlier = [w for w in self.workers.values() if w.name == message.name or w.peer == peer]
        sends = [send for worker in earlier for send in self._lose(worker)]
        self.workers[peer] = Worker(
            peer=peer,
            name=message.name,
            provider=message.provider,
            pid=message.pid,
            slots=message.slots,
            expires_at=now + self.policy.lease,
            resident=frozenset(message.resident),
            loading=frozenset(message.loading),
            serving=message.serving,
        )
        self._changed = True
        return sends

    @_on.register
    def _(self, message: Heartbeat, peer: Peer, now: float) -> list[Send]:
        worker = self.workers.get(peer)
        if worker is None:
            return [Send(peer, Rejoin())]
        worker.memory_bytes = message.memory_bytes or worker.memory_bytes
        resident = frozenset(message.resident)
        self._changed |= resident != worker.resident
        worker.resident = resident
        worker.loading = frozenset(message.loading)
        worker.serving = message.serving
        return []

    @_on.register
    def _(self, message: Outputs, peer: Peer, now: float) -> list[Send]:
        by_gateway: dict[Peer, list[Output]] = {}
        for output in message.outputs:
            request = self.requests.get(output.request_id)
            if request is None or request.worker != peer:
                continue  # aborted, or a late frame from a worker that was given up
            request.started = True
            if output.last:
                self._forget_request(output.request_id)
            by_gateway.setdefault(request.gateway, []).append(output)
        return [Send(gateway, Outputs(tuple(outs))) for gateway, outs in by_gateway.items()]

    @_on.register
    def _(self, message: Rejected | Done, peer: Peer, now: float) -> list[Send]:
        if unloading := self.unloading.get(message.request_id):
            return self._confirm(message.request_id, unloading, peer)
        request = self.requests.get(message.request_id)
        if request is None or request.worker != peer:
            return []
        self._forget_request(message.request_id)
        return [Send(request.gateway, message)]

    @_on.register
    def _(self, message: Goodbye, peer: Peer, now: float) -> list[Send]:
        worker = self.workers.get(peer)
        return self._lose(worker) if worker else []

    # -- transitions -------------------------------------------------------------------------------

    def _expires_at(self, worker: Worker) -> float:
        """When the worker is given up if it says nothing until then."""
        loads = bool(worker.loading - worker.resident)
        return worker.expires_at + (self.policy.loading_lease if loads else 0.0)

    def _settle(self, sends: list[Send]) -> list[Send]:
        """What follows from any event: dispatch, and news for the gateways."""
        sends += self._dispatch()
        self._totals = counted(self._totals, (send.message for send in sends))
        if self._changed:
            self._changed = False
            status = self.status()
            sends += [Send(gateway, status) for gateway in self.gateways]
        return sends

    def _dispatch(self) -> list[Send]:
        """Start every queued request that some worker can take, oldest first."""
        sends: list[Send] = []
        for request_id in list(self.queue):
            if not any(w.free > 0 for w in self.workers.values()):
                break
            request = self.requests[request_id]
            if (worker := place(request.model, self.workers.values())) is None:
                continue
            del self.queue[request_id]
            request.worker = worker.peer
            request.attempts += 1
            worker.running.add(request_id)
            worker.loading |= {request.model.id}  # it will load it: followers go there too
            sends.append(Send(worker.peer, request.order()))
        return sends

    def _lose(self, worker: Worker) -> list[Send]:
        """A worker is gone: its requests run again, or end if the client has seen output."""
        del self.workers[worker.peer]
        self._changed = True
        sends: list[Send] = []
        again: dict[str, None] = {}
        for request_id in sorted(worker.running):
            request = self.requests[request_id]
            request.worker = None
            if request.started or request.attempts >= MAX_ATTEMPTS:
                text = "the worker that ran this request ended unexpectedly; send it again"
                sends += self._reject(request_id, ErrorCode.WORKER_LOST, text)
            else:
                again[request_id] = None
        self.queue = again | self.queue
        for request_id, unloading in list(self.unloading.items()):
            sends += self._confirm(request_id, unloading, worker.peer)
        return sends

    def _confirm(self, request_id: str, unloading: Unloading, peer: Peer) -> list[Send]:
        unloading.waiting.discard(peer)
        if unloading.waiting:
            return []
        del self.unloading[request_id]
        return [Send(unloading.gateway, Done(request_id))]

    def _forget(self, gateway: Peer) -> list[Send]:
        """A gateway is gone: nobody waits for its requests."""
        self.gateways.pop(gateway, None)
        for request_id in [i for i, u in self.unloading.items() if u.gateway == gateway]:
            del self.unloading[request_id]
        mine = [i for i, request in self.requests.items() if request.gateway == gateway]
        return [send for request_id in mine for send in self._drop(request_id)]

    def _drop(self, request_id: str) -> list[Send]:
        """End a request that nobody waits for."""
        worker = self.requests[request_id].worker
        self._forget_request(request_id)
        return [Send(worker, Abort(request_id))] if worker else []

    def _reject(self, request_id: str, code: ErrorCode, text: str) -> list[Send]:
        gateway = self.requests[request_id].gateway
        self._forget_request(request_id)
        return [Send(gateway, Rejected(request_id, code, text))]

    def _forget_request(self, request_id: str) -> None:
        request = self.requests.pop(request_id)
        self.queue.pop(request_id, None)
        if worker := self.workers.get(request.worker or b""):
            worker.running.discard(request_id)

    def _greet(self, gateway: Peer, now: float) -> None:
        self.gateways[gateway] = now + self.policy.lease

    def status(self) -> Status:
        present = {worker.name for worker in self.workers.values()}
        return Status(
            epoch=self.epoch,
            pid=self.pid,
            queued=len(self.queue),
            workers=tuple(sorted((w.status for w in self.workers.values()), key=lambda w: w.name)),
            missing=tuple(sorted(self.policy.workers.keys() - present)),
            totals=self._totals,
        )
