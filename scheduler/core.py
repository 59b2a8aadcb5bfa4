"""The scheduler's decisions, without its socket or its clock.

``Scheduler.receive``, ``tick``, ``process_ended`` and ``unreachable`` take what happened and the
time, and return what to send. ``broker.py`` is the only caller that does I/O. The invariant: every
request of a gateway is answered by exactly one end, that is an ``Output`` with usage, a ``Done``
or a ``Rejected``, unless the gateway itself aborts it or goes away.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from cupola.scheduler.placement import place
from cupola.scheduler.policy import SchedulerPolicy
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    FinishReason,
    FromGateway,
    Goodbye,
    Heartbeat,
    LoadModel,
    Outcome,
    Output,
    Outputs,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Status,
    Submit,
    ToScheduler,
    UnloadModel,
)
from cupola.scheduler.queue import WaitingQueue
from cupola.scheduler.records import Peer, Request, Send, Worker
from cupola.scheduler.requests import Requests
from cupola.scheduler.totals import Account, outcome_of
from cupola.scheduler.unloads import Unloads
from cupola.scheduler.workers import Workers


class Scheduler:
    def __init__(self, policy: SchedulerPolicy, epoch: str, pid: int = 0) -> None:
        self.policy = policy
        self.epoch = epoch
        self.pid = pid
        self.queue = WaitingQueue(policy.queue_limit)
        self.requests = Requests(self.queue)
        self.workers = Workers(policy)
        self.gateways: dict[Peer, float] = {}  # when their leases end
        self.unloads = Unloads()
        self._arrivals = count()
        self._account = Account()
        self._status_changed = False  # since the gateways were last sent a Status

    # -- events ------------------------------------------------------------------------------------

    def receive(self, peer: Peer, message: ToScheduler, now: float) -> list[Send]:
        self._renew_lease(peer, message, now)
        return self._settle(self._handle(peer, message, now))

    def process_ended(self, name: str, now: float) -> list[Send]:
        """The supervisor saw the process of the worker called ``name`` end."""
        return self._settle(self._workers_lost(self.workers.named(name)))

    def unreachable(self, peer: Peer, now: float) -> list[Send]:
        """A frame for ``peer`` could not be sent: it is gone."""
        worker = self.workers.get(peer)
        return self._settle(self._workers_lost([worker]) if worker else self._gateway_lost(peer))

    def tick(self, now: float) -> list[Send]:
        """Act on every deadline that has passed."""
        sends = self._workers_lost(self.workers.expired(now))
        for gateway in [peer for peer, lease_end in self.gateways.items() if lease_end <= now]:
            sends += self._gateway_lost(gateway)
        for request in self.queue.expired(now):
            text = f"waited {self.policy.queue_timeout:g} s for a free worker; try again later"
            sends += self._reject(request, ErrorCode.QUEUE_TIMEOUT, text)
        return self._settle(sends)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None: not before another event."""
        deadlines = (self.workers.next_deadline(), self.queue.next_deadline())
        times = [time for time in (*deadlines, *self.gateways.values()) if time is not None]
        return min(times, default=None)

    def _handle(self, peer: Peer, message: ToScheduler, now: float) -> list[Send]:
        match message:
            case Submit() | LoadModel():
                return self._on_submit(peer, message, now)
            case UnloadModel():
                return self._on_unload(peer, message)
            case Abort():
                return self._on_abort(peer, message)
            case Query():
                return self._on_query(peer, message)
            case Ready():
                return self._on_ready(peer, message, now)
            case Heartbeat():
                return self._on_heartbeat(peer, message)
            case Outputs():
                return self._on_outputs(peer, message)
            case Done() | Rejected():
                return self._on_end(peer, message)
            case Goodbye():
                return self._on_goodbye(peer)

    # -- messages from gateways --------------------------------------------------------------------

    def _on_submit(self, peer: Peer, message: Submit | LoadModel, now: float) -> list[Send]:
        request_id, provider = message.request_id, message.model.provider
        if request_id in self.requests:
            return []  # it was sent twice: the first one counts
        if provider not in self.policy.workers.values():
            text = f"no worker runs {provider}; start one with --workers"
            return [self._turned_away(peer, message, ErrorCode.NO_WORKER, text)]
        deadline = now + self.policy.queue_timeout
        request = Request(peer, message, next(self._arrivals), deadline)
        if not self.queue.has_room(request):
            text = f"{len(self.queue)} requests are waiting already; try again later"
            return [self._turned_away(peer, message, ErrorCode.QUEUE_FULL, text)]
        self.requests.add(request)
        return []

    def _on_unload(self, peer: Peer, message: UnloadModel) -> list[Send]:
        holders = sorted(worker.peer for worker in self.workers.holding(message.model_id))
        if not holders:
            return [Send(peer, Done(message.request_id))]
        self.unloads.start(message.request_id, peer, holders)
        return [Send(holder, message) for holder in holders]

    def _on_abort(self, peer: Peer, message: Abort) -> list[Send]:
        request = self.requests.get(message.request_id)
        if request is None or request.gateway != peer:
            return []
        return self._abort(request, message.counts_as)

    def _on_query(self, peer: Peer, message: Query) -> list[Send]:
        for outcome, requests in message.ended.items():
            self._account.ended(outcome, requests)
        return [Send(peer, self.status(answers=message.number))]

    # -- messages from workers ---------------------------------------------------------------------

    def _on_ready(self, peer: Peer, message: Ready, now: float) -> list[Send]:
        replaced = [w for w in self.workers.values() if w.name == message.name or w.peer == peer]
        sends = self._workers_lost(replaced)
        self.workers.join(peer, message, now)
        self._status_changed = True
        return sends

    def _on_heartbeat(self, peer: Peer, message: Heartbeat) -> list[Send]:
        worker = self.workers.get(peer)
        if worker is None:
            return [Send(peer, Rejoin())]
        resident_before = worker.resident
        worker.update(message)
        self._status_changed |= worker.resident != resident_before
        return []

    def _on_outputs(self, peer: Peer, message: Outputs) -> list[Send]:
        by_gateway: dict[Peer, list[Output]] = {}
        for output in message.outputs:
            self._account.told(output)
            request = self.requests.running_on(peer, output.request_id)
            if request is None or output.finish_reason is FinishReason.ABORT:
                continue  # aborted, or a late frame from a worker that was given up
            request.started = True
            if output.last:
                self._end(request, Outcome.ANSWERED)
            by_gateway.setdefault(request.gateway, []).append(output)
        return [Send(gateway, Outputs(tuple(outputs))) for gateway, outputs in by_gateway.items()]

    def _on_end(self, peer: Peer, message: Done | Rejected) -> list[Send]:
        if message.request_id in self.unloads:
            gateway = self.unloads.confirm(message.request_id, peer)
            return [Send(gateway, Done(message.request_id))] if gateway else []
        request = self.requests.running_on(peer, message.request_id)
        if request is None:
            return []
        self._end(request, _outcome(message))
        return [Send(request.gateway, message)]

    def _on_goodbye(self, peer: Peer) -> list[Send]:
        worker = self.workers.get(peer)
        return self._workers_lost([worker]) if worker else []

    # -- leases ------------------------------------------------------------------------------------

    def _renew_lease(self, peer: Peer, message: ToScheduler, now: float) -> None:
        if worker := self.workers.get(peer):
            worker.heard_at = now
        elif isinstance(message, FromGateway):
            self.gateways[peer] = now + self.policy.lease

    def _workers_lost(self, workers: Iterable[Worker]) -> list[Send]:
        """Each of their requests waits again, or ends if it must not run again."""
        sends: list[Send] = []
        for worker in workers:
            self.workers.remove(worker)
            self._status_changed = True
            for request in list(worker.running.values()):
                if request.may_run_again:
                    self.requests.wait_again(request)
                else:
                    text = "the worker that ran this request ended unexpectedly; send it again"
                    sends += self._reject(request, ErrorCode.WORKER_LOST, text)
            unloaded = self.unloads.worker_lost(worker.peer)
            sends += [Send(gateway, Done(request_id)) for request_id, gateway in unloaded]
        return sends

    def _gateway_lost(self, gateway: Peer) -> list[Send]:
        """Nobody waits for its requests."""
        self.gateways.pop(gateway, None)
        self.unloads.gateway_lost(gateway)
        requests = self.requests.of_gateway(gateway)
        return [send for request in requests for send in self._abort(request)]

    # -- from waiting to running to the end --------------------------------------------------------

    def _settle(self, sends: list[Send]) -> list[Send]:
        """What follows from any event: waiting requests start, and gateways get the new Status."""
        sends += self._dispatch()
        if self._status_changed:
            self._status_changed = False
            status = self.status()
            sends += [Send(gateway, status) for gateway in self.gateways]
        return sends

    def _dispatch(self) -> list[Send]:
        """Start every waiting request that some worker can take, in the queue's order."""
        sends: list[Send] = []
        for request in self.queue:
            if not any(worker.free > 0 for worker in self.workers.values()):
                break
            if worker := place(request.model, self.workers.values()):
                self.requests.start(request, worker)
                sends.append(Send(worker.peer, request.message))
        return sends

    def _abort(self, request: Request, counts_as: Outcome | None = Outcome.ABORTED) -> list[Send]:
        """End a request that nobody waits for."""
        worker = request.worker
        self._end(request, counts_as)
        return [Send(worker.peer, Abort(request.id))] if worker else []

    def _reject(self, request: Request, code: ErrorCode, text: str) -> list[Send]:
        self._end(request, outcome_of(code))
        return [Send(request.gateway, Rejected(request.id, code, text))]

    def _turned_away(
        self, peer: Peer, message: Submit | LoadModel, code: ErrorCode, text: str
    ) -> Send:
        """The answer to a request that does not even wait."""
        self._count(message, outcome_of(code))
        return Send(peer, Rejected(message.request_id, code, text))

    def _end(self, request: Request, outcome: Outcome | None) -> None:
        self.requests.end(request)
        self._count(request.message, outcome)

    def _count(self, message: Submit | LoadModel, outcome: Outcome | None) -> None:
        """Count a request that has ended. Loads are no work of a model."""
        if outcome is not None and isinstance(message, Submit):
            self._account.ended(outcome)

    def status(self, answers: int = 0) -> Status:
        """``answers``: the number of the gateway's Query; 0: it is sent unasked."""
        return Status(
            epoch=self.epoch,
            pid=self.pid,
            queued=len(self.queue),
            workers=self.workers.statuses(),
            missing=self.workers.missing(),
            totals=self._account.totals,
            answers=answers,
        )


def _outcome(end: Done | Rejected) -> Outcome:
    return outcome_of(end.code) if isinstance(end, Rejected) else Outcome.ANSWERED
