"""The scheduler's decisions, without its socket or its clock.

``Scheduler.receive``, ``tick``, ``process_ended`` and ``unreachable`` take what happened and the
time, and return what to send. ``broker.py`` is the only caller that does I/O. The invariant: every
request of a gateway is answered by exactly one end, that is an ``Output`` with usage, a ``Done``
or a ``Rejected``, unless the gateway itself aborts it or goes away.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from cupola.scheduler.endings import Endings
from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.intake import Intake
from cupola.scheduler.losses import Losses
from cupola.scheduler.placement.dispatch import Dispatch
from cupola.scheduler.placement.drains import Drains
from cupola.scheduler.placement.replicas import Replicas
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    FromGateway,
    Goodbye,
    Heartbeat,
    LoadModel,
    Outcome,
    Outputs,
    Postponed,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Status,
    Submit,
    ToScheduler,
    UnloadModel,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output
from cupola.scheduler.protocol.pool import Member
from cupola.scheduler.state.measurements import Measurements
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Peer, Request, Send, Worker
from cupola.scheduler.state.requests import Requests
from cupola.scheduler.state.totals import Account, outcome_of
from cupola.scheduler.state.unloads import Unloads
from cupola.scheduler.state.workers import Workers
from cupola.scheduler.waiting.queue import WaitingQueue
from cupola.scheduler.waiting.token_counters import TokenCounters


class Scheduler:
    def __init__(self, policy: SchedulerPolicy, epoch: str, pid: int = 0) -> None:
        self.policy = policy
        self.epoch = epoch
        self.pid = pid
        counters = TokenCounters()
        self.queue: WaitingQueue[Request] = WaitingQueue(counters)
        self.requests = Requests(self.queue)
        self.workers = Workers(policy)
        self.gateways: dict[Peer, float] = {}  # when their leases end
        self._gateway_pids: dict[Peer, int] = {}
        self.unloads = Unloads()
        self.suspicion = Suspicion()
        self._account = Account()
        self.measurements = Measurements()
        self._endings = Endings(self.requests, self.workers, self.suspicion, self._account)
        self._dispatch = Dispatch(self.requests, self.workers, self.suspicion, counters)
        self._drains = Drains(self.workers, self.suspicion)
        self._replicas = Replicas(self.workers, self.suspicion)
        self._losses = Losses(
            self.workers,
            self.unloads,
            self.suspicion,
            self._endings,
            self._dispatch.affinity,
            self._drains,
            self._replicas,
        )
        self._intake = Intake(policy, self.queue, self.workers, self.suspicion, self._dispatch.rate)
        self._arrivals = count()
        self._status_changed = False  # since the gateways were last sent a Status

    def malformed(self) -> None:
        """Count a frame that is no message. It changes nothing else, not even a lease."""
        self._account.malformed()

    # -- events ------------------------------------------------------------------------------------

    def receive(self, peer: Peer, message: ToScheduler, now: float) -> list[Send]:
        self._renew_lease(peer, message, now)
        return self._settle(self._handle(peer, message, now), now)

    def process_ended(self, name: str, now: float) -> list[Send]:
        """The supervisor saw the process of the worker called ``name`` end."""
        self.suspicion.silent_worker_died(name, now)
        return self._settle(self._died(self.workers.named(name), now), now)

    def process_left(self, name: str, now: float) -> list[Send]:
        """The process of the worker called ``name`` has ended because an operator wanted it."""
        workers = self.workers.named(name)
        self._status_changed |= bool(workers)
        return self._settle(self._losses.workers_left(workers, now), now)

    def expect(self, members: Iterable[Member], now: float) -> list[Send]:
        """The supervisor says which workers should be there."""
        self._status_changed = True
        return self._settle(self._drains.expect(members, now), now)

    def drained(self) -> list[str]:
        """Names of workers that leave and have nothing left to do. Each is told once."""
        return self._drains.drained()

    def unreachable(self, peer: Peer, now: float) -> list[Send]:
        """A frame for ``peer`` could not be sent: it is gone."""
        worker = self.workers.get(peer)
        sends = self._silent([worker], now) if worker else self._gateway_lost(peer)
        return self._settle(sends, now)

    def tick(self, now: float) -> list[Send]:
        """Act on every deadline that has passed."""
        sends = self._silent(self.workers.expired(now), now)
        for gateway in [peer for peer, lease_end in self.gateways.items() if lease_end <= now]:
            sends += self._gateway_lost(gateway)
        sends += self._endings.expired(now)
        sends += self._replicas.look(now)
        return self._settle(sends, now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None: not before another event."""
        times = [*self.workers.deadlines(), *self.gateways.values()]
        times += [request.deadline for request in self.workers.postponed()]
        if (waiting := self.queue.next_deadline()) is not None:
            times.append(waiting)
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
                return self._on_query(peer, message, now)
            case Ready():
                return self._on_ready(peer, message, now)
            case Heartbeat():
                return self._on_heartbeat(peer, message)
            case Postponed():
                return self._on_postponed(peer, message)
            case Outputs():
                return self._on_outputs(peer, message, now)
            case Done() | Rejected():
                return self._on_end(peer, message, now)
            case Goodbye():
                return self._on_goodbye(peer, now)

    # -- messages from gateways --------------------------------------------------------------------

    def _on_submit(self, peer: Peer, message: Submit | LoadModel, now: float) -> list[Send]:
        if message.request_id in self.requests:
            return []  # it was sent twice: the first one counts
        timeout = message.turn.timeout if isinstance(message, Submit) else None
        deadline = self._intake.deadline(timeout, now)
        request = Request(peer, message, next(self._arrivals), now, deadline)
        if (refusal := self._intake.refusal(request, now)) is not None:
            return [self._endings.turn_away(peer, message, refusal)]
        self.requests.add(request, now)
        self._drains.asked_for(message.model)
        return []

    def _on_unload(self, peer: Peer, message: UnloadModel) -> list[Send]:
        if message.force:
            self.suspicion.models.forget([message.model_id])
        holders = sorted(worker.peer for worker in self.workers.holding(message.model_id))
        if not holders:
            return [Send(peer, Done(message.request_id))]
        self.unloads.start(message.request_id, peer, holders)
        return [Send(holder, message) for holder in holders]

    def _on_abort(self, peer: Peer, message: Abort) -> list[Send]:
        request = self.requests.get(message.request_id)
        if request is None or request.gateway != peer:
            return []
        return self._endings.abort(request, message.counts_as)

    def _on_query(self, peer: Peer, message: Query, now: float) -> list[Send]:
        for outcome, requests in message.ended.items():
            self._account.ended(outcome, requests)
        self._account.answered_http(message.http)
        self._gateway_pids[peer] = message.pid
        return [Send(peer, self.status(now, answers=message.number))]

    # -- messages from workers ---------------------------------------------------------------------

    def _on_ready(self, peer: Peer, message: Ready, now: float) -> list[Send]:
        if peer in self.workers:
            # Each of several heartbeats had it asked to rejoin. All that came before what was
            # sent to it since, so it runs that.
            return []
        self.suspicion.worker_joined(peer, message.name, now)
        sends = self._died(self.workers.named(message.name), now)
        self.workers.join(peer, message, now)
        self._account.joined(message.name, message.resident)
        self.suspicion.models.forget(message.resident)
        self.suspicion.loads_killed(message.fatal, now)
        self._status_changed = True
        return sends

    def _on_heartbeat(self, peer: Peer, message: Heartbeat) -> list[Send]:
        worker = self.workers.get(peer)
        if worker is None:
            return [Send(peer, Rejoin())]
        resident_before = worker.resident
        worker.update(message)
        if message.beginnings is not None:
            self._dispatch.affinity.told(message.beginnings, peer)
        self._account.resident(resident_before, worker.resident)
        self._account.evicted(message.evicted)
        self.suspicion.models.forget(worker.resident)
        self._status_changed |= worker.resident != resident_before
        return []

    def _on_postponed(self, peer: Peer, message: Postponed) -> list[Send]:
        if worker := self.workers.get(peer):
            self.requests.postpone(worker, message.request_ids)
        return []

    def _on_outputs(self, peer: Peer, message: Outputs, now: float) -> list[Send]:
        self.measurements.step(len({output.request_id for output in message.outputs}))
        by_gateway: dict[Peer, list[Output]] = {}
        for output in message.outputs:
            self._account.told(output)
            request = self.requests.running_on(peer, output.request_id)
            if request is None or output.finish_reason is FinishReason.ABORT:
                continue  # aborted, or a late frame from a worker that was given up
            self._dispatch.served(request, output)
            self.measurements.output(request, output, now)
            if output.progress is None:  # a prompt that is being read may run elsewhere
                request.started = True
            request.suspect = False
            if output.last:
                self._endings.end(request, Outcome.ANSWERED)
            by_gateway.setdefault(request.gateway, []).append(output)
        return [Send(gateway, Outputs(tuple(outputs))) for gateway, outputs in by_gateway.items()]

    def _on_end(self, peer: Peer, message: Done | Rejected, now: float) -> list[Send]:
        if message.request_id in self.unloads:
            gateway = self.unloads.confirm(message.request_id, peer)
            return [Send(gateway, Done(message.request_id))] if gateway else []
        if self._drains.is_move(message.request_id):
            self._drains.moved(message.request_id)
            return []
        if self._replicas.ended(message.request_id, isinstance(message, Rejected), now):
            return []
        request = self.requests.running_on(peer, message.request_id)
        if request is None:
            return []
        sends = [Send(request.gateway, message)]
        if not isinstance(message, Rejected) or message.code is not ErrorCode.MODEL_LOAD_FAILED:
            self._endings.end(request, _outcome(message))
            return sends
        # First, while all that wait for the model are still on the worker.
        self.suspicion.load_failed(request, message.message, now)
        self._status_changed = True
        self._endings.end(request, _outcome(message))
        return sends + self._endings.refused(now)

    def _on_goodbye(self, peer: Peer, now: float) -> list[Send]:
        worker = self.workers.get(peer)
        if worker is None:
            return []
        self._status_changed = True
        return self._losses.workers_left([worker], now)

    # -- leases ------------------------------------------------------------------------------------

    def _renew_lease(self, peer: Peer, message: ToScheduler, now: float) -> None:
        if worker := self.workers.get(peer):
            worker.heard_at = now
        elif isinstance(message, FromGateway):
            self.gateways[peer] = now + self.policy.lease

    def _died(self, workers: list[Worker], now: float) -> list[Send]:
        self._status_changed |= bool(workers)
        return self._losses.workers_died(workers, now)

    def _silent(self, workers: list[Worker], now: float) -> list[Send]:
        self._status_changed |= bool(workers)
        return self._losses.workers_silent(workers, now)

    def _gateway_lost(self, gateway: Peer) -> list[Send]:
        self.gateways.pop(gateway, None)
        self._gateway_pids.pop(gateway, None)
        return self._losses.gateway_lost(gateway)

    # -- from waiting to running to the end --------------------------------------------------------

    def _settle(self, sends: list[Send], now: float) -> list[Send]:
        """What follows from any event: waiting requests start, and gateways get the new Status."""
        sends += self._dispatch.run(now)
        if self._status_changed:
            self._status_changed = False
            status = self.status(now)
            sends += [Send(gateway, status) for gateway in self.gateways]
        return sends

    def _oldest_seconds(self, now: float) -> float:
        """How long the request has waited that has waited longest."""
        since = self.queue.oldest_since
        return 0.0 if since is None else max(0.0, now - since)

    def status(self, now: float, answers: int = 0) -> Status:
        """``answers``: the number of the gateway's Query; 0: it is sent unasked."""
        return Status(
            epoch=self.epoch,
            pid=self.pid,
            queued=len(self.queue) + len(self.workers.postponed()),
            workers=self.workers.statuses(),
            missing=self.workers.missing(),
            stopped=tuple(sorted(self.workers.stopped)),
            totals=self._account.totals,
            http=self._account.http,
            distributions=self.measurements.distributions,
            oldest_seconds=self._oldest_seconds(now),
            answers=answers,
            refused=dict(self.suspicion.models.refused(now)),
            gateways=tuple(sorted(filter(None, self._gateway_pids.values()))),
        )


def _outcome(end: Done | Rejected) -> Outcome:
    return outcome_of(end.code) if isinstance(end, Rejected) else Outcome.ANSWERED
