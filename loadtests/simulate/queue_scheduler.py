"""Who starts where, and who is refused: the service's queue and limits, for thousands of workers.

The order of service, its ageing, the limits and the deadlines are the scheduler's own code. The
scheduler looks at every worker to place a request; here an index finds the same one. It is for
workers that are alike and never fail. ``whole_scheduler.py`` is for the others, and the tests see
that both decide the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from cupola.loadtests.simulate.free_slots import FreeSlots
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.loadtests.simulate.worker import SimulatedWorker
from cupola.scheduler.waiting.limits import QueueLimits
from cupola.scheduler.waiting.queue import WaitingQueue
from cupola.scheduler.waiting.token_counters import TokenCounters

Start = Callable[[SimulatedRequest, SimulatedWorker, float], None]
Refuse = Callable[[SimulatedRequest, float], None]


class SimulatedScheduler(Protocol):
    """Calls back for each request that starts or is refused."""

    @property
    def waiting(self) -> int:
        """Requests without a worker."""

    def next_deadline(self) -> float | None:
        """When a request has waited for too long next."""

    def joins(self, worker: SimulatedWorker, now: float) -> None: ...

    def dies(self, worker: SimulatedWorker, now: float) -> None: ...

    def arrives(self, request: SimulatedRequest, now: float) -> bool:
        """Whether it waits."""

    def ended(
        self, worker: SimulatedWorker, finished: Sequence[SimulatedRequest], now: float
    ) -> None:
        """Some requests of a worker are complete, or ``worker.started``."""

    def expire(self, now: float) -> None:
        """Refuse what has waited for too long."""


class QueueScheduler:
    """``slots``: of each worker."""

    def __init__(
        self, start: Start, refuse: Refuse, slots: int, queue_limit: int, queue_timeout: float
    ) -> None:
        self._start, self._refuse = start, refuse
        self._free = FreeSlots(slots)
        self.waiting = 0
        self._timeout = queue_timeout
        self._limits = QueueLimits(queue_limit, 0)
        self._queue: WaitingQueue[SimulatedRequest] = WaitingQueue(TokenCounters())

    def next_deadline(self) -> float | None:
        return self._queue.next_deadline()

    def joins(self, worker: SimulatedWorker, now: float) -> None:
        self._free.changed(worker)
        if self.waiting:
            self._start_waiting(now)

    def dies(self, worker: SimulatedWorker, now: float) -> None:
        raise NotImplementedError("workers that fail need the whole scheduler")

    def arrives(self, request: SimulatedRequest, now: float) -> bool:
        if self._limits.requests and (worker := self._free.best()) is not None:
            self._place(request, worker, now)  # nobody waits where a slot is free
            return False
        request.deadline = now + self._timeout
        if self._limits.full(self._queue, request) is not None:
            self._refuse(request, now)
            return False
        self._queue.push(request, now)
        self.waiting += 1
        return True

    def ended(
        self, worker: SimulatedWorker, finished: Sequence[SimulatedRequest], now: float
    ) -> None:
        if finished:
            self._free.changed(worker)
            if self.waiting:
                self._start_waiting(now)

    def expire(self, now: float) -> None:
        for request in self._queue.expired(now):
            self._leave(request)
            self._refuse(request, now)

    def _start_waiting(self, now: float) -> None:
        with self._queue.round(SimulatedRequest.kind, now) as order:
            while (worker := self._free.best()) is not None:
                if (request := order.next()) is None:
                    return
                self._leave(request)
                self._place(request, worker, now)

    def _leave(self, request: SimulatedRequest) -> None:
        self._queue.remove(request)
        self.waiting -= 1

    def _place(self, request: SimulatedRequest, worker: SimulatedWorker, now: float) -> None:
        self._start(request, worker, now)
        self._free.changed(worker)
