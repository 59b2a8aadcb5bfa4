"""The scheduler's decisions, without its socket or its clock.

``Scheduler.receive``, ``tick``, ``process_ended`` and ``unreachable`` take what happened and the
time, and return what to send. ``broker.py`` is the only caller that does I/O. The invariant: every
request of a gateway is answered by exactly one end, that is an ``Output`` with usage, a ``Done``
or a ``Rejected``, unless the gateway itself aborts it or goes away.
"""

from __future__ import annotations

from collections.abc import Iterable

from cupola.scheduler.endings import Endings
from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.gateway_messages import GatewayMessages
from cupola.scheduler.intake import Intake
from cupola.scheduler.losses import Losses
from cupola.scheduler.placement.dispatch import Dispatch
from cupola.scheduler.placement.drains import Drains
from cupola.scheduler.placement.replicas import Replicas
from cupola.scheduler.protocol.messages import (
    Abort,
    LoadModel,
    Query,
    Status,
    Submit,
    ToScheduler,
    UnloadModel,
)
from cupola.scheduler.protocol.pool import Member
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Peer, Send
from cupola.scheduler.state.state import State
from cupola.scheduler.status_report import StatusReport
from cupola.scheduler.waiting.token_counters import TokenCounters
from cupola.scheduler.worker_messages import WorkerMessages


class Scheduler:
    """``epoch`` and ``pid``: see ``StatusReport``."""

    def __init__(self, policy: SchedulerPolicy, epoch: str, pid: int = 0) -> None:
        counters = TokenCounters()
        state = State.begin(policy, counters)
        self.requests, self.queue = state.requests, state.requests.waiting
        self.workers = state.workers
        self.measurements = state.measurements
        self._gateways, self._account = state.gateways, state.account
        self.suspicion = Suspicion()
        self._report = StatusReport(state, self.suspicion, epoch, pid)
        self._dispatch = Dispatch(self.requests, self.workers, self.suspicion, counters)
        self._drains = Drains(self.workers, self.suspicion)
        self._replicas = Replicas(self.workers, self.suspicion)
        self._endings = Endings(self.requests, self.workers, self.suspicion, state.account)
        self._losses = Losses(
            state,
            self.suspicion,
            self._dispatch.affinity,
            self._drains,
            self._replicas,
            self._endings,
            self._report,
        )
        self._gateway_messages = GatewayMessages(
            state,
            self.suspicion,
            Intake(policy, self.queue, self.workers, self.suspicion, self._dispatch.rate),
            self._endings,
            self._drains,
            self._report,
        )
        self._worker_messages = WorkerMessages(
            state,
            self.suspicion,
            self._dispatch,
            self._drains,
            self._replicas,
            self._endings,
            self._losses,
            self._report,
        )

    def malformed(self) -> None:
        """Count a frame that is no message. It changes nothing else, not even a lease."""
        self._account.malformed()

    def status(self, now: float) -> Status:
        """What the gateways are told."""
        return self._report.status(now)

    # -- events ------------------------------------------------------------------------------------

    def receive(self, peer: Peer, message: ToScheduler, now: float) -> list[Send]:
        worker = self.workers.get(peer)
        if worker is not None:
            worker.heard_at = now
        match message:
            case Submit() | LoadModel() | UnloadModel() | Abort() | Query():
                if worker is None:
                    self._gateways.heard(peer, now)
                sends = self._gateway_messages.handle(peer, message, now)
            case _:
                sends = self._worker_messages.handle(peer, message, now)
        return self._settle(sends, now)

    def process_ended(self, name: str, now: float) -> list[Send]:
        """The supervisor saw the process of the worker called ``name`` end."""
        self.suspicion.silent_worker_died(name, now)
        return self._settle(self._losses.workers_died(self.workers.named(name), now), now)

    def process_left(self, name: str, now: float) -> list[Send]:
        """The process of the worker called ``name`` has ended because an operator wanted it."""
        return self._settle(self._losses.workers_left(self.workers.named(name), now), now)

    def expect(self, members: Iterable[Member], now: float) -> list[Send]:
        """The supervisor says which workers should be there."""
        self._report.changed()
        return self._settle(self._drains.expect(members, now), now)

    def drained(self) -> list[str]:
        """Names of workers that leave and have nothing left to do. Each is told once."""
        return self._drains.drained()

    def unreachable(self, peer: Peer, now: float) -> list[Send]:
        """A frame for ``peer`` could not be sent: it is gone."""
        if (worker := self.workers.get(peer)) is not None:
            return self._settle(self._losses.workers_silent([worker], now), now)
        return self._settle(self._losses.gateway_lost(peer), now)

    def tick(self, now: float) -> list[Send]:
        """Act on every deadline that has passed."""
        sends = self._losses.workers_silent(self.workers.expired(now), now)
        for gateway in self._gateways.expired(now):
            sends += self._losses.gateway_lost(gateway)
        sends += self._endings.expired(now)
        sends += self._replicas.look(now)
        return self._settle(sends, now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None: not before another event."""
        times = [*self.workers.deadlines(), *self._gateways.deadlines()]
        times += [request.deadline for request in self.workers.postponed()]
        if (waiting := self.queue.next_deadline()) is not None:
            times.append(waiting)
        return min(times, default=None)

    def _settle(self, sends: list[Send], now: float) -> list[Send]:
        """What follows from any event: waiting requests start, and gateways get the new Status."""
        return [*sends, *self._dispatch.run(now), *self._report.news(now)]
