"""Which requests may wait for a worker, and what the others are told. Pure."""

from __future__ import annotations

from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.protocol.messages import ErrorCode, Rejected
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Request
from cupola.scheduler.state.workers import Workers
from cupola.scheduler.waiting.limits import Full, QueueLimits
from cupola.scheduler.waiting.queue import WaitingQueue
from cupola.scheduler.waiting.service_rate import ServiceRate


class Intake:
    def __init__(
        self,
        policy: SchedulerPolicy,
        queue: WaitingQueue[Request],
        workers: Workers,
        suspicion: Suspicion,
        rate: ServiceRate,
    ) -> None:
        self._policy = policy
        self._limits = QueueLimits(policy.queue_limit, policy.queue_tokens)
        self._queue = queue
        self._workers = workers
        self._suspicion = suspicion
        self._rate = rate

    def deadline(self, timeout: float | None, now: float) -> float:
        """Until when a request may wait whose client waits so long."""
        longest = self._policy.queue_timeout
        return now + (longest if timeout is None else min(longest, max(0.0, timeout)))

    def refusal(self, request: Request, now: float) -> Rejected | None:
        """Why a new request does not even wait; None: it waits."""
        provider = request.model.provider
        if provider not in self._workers.providers:
            text = f"no worker runs {provider}; start one with --workers or cupola workers"
            return Rejected(request.id, ErrorCode.NO_WORKER, text)
        if not self._workers.may_run(request.model):
            text = f"no worker may run the model '{request.model.id}': each has its own models"
            return Rejected(request.id, ErrorCode.NO_WORKER, text)
        if (refusal := self._suspicion.refusal(request, now)) is not None:
            return refusal
        if request.deadline <= now:
            text = "the request's own timeout is over before it could begin"
            return Rejected(request.id, ErrorCode.QUEUE_TIMEOUT, text)
        postponed = len(self._workers.postponed())
        if (full := self._limits.full(self._queue, request, elsewhere=postponed)) is not None:
            return self._full(request, full, postponed, now)
        if not self._queue:
            self._rate.backlog_begins(now)
        return None

    def _full(self, request: Request, full: Full, postponed: int, now: float) -> Rejected:
        waiting = len(self._queue) + postponed
        if full is Full.FOR_ALL:
            after = self._rate.seconds_for(waiting, now)
            text = f"{waiting} requests are waiting already"
            code = ErrorCode.QUEUE_FULL
        else:
            own = self._queue.requests_of(request.client)
            after = self._rate.seconds_for(own * self._queue.clients, now)  # it is served in turn
            text = f"this client has {own} requests waiting already, and others need room as well"
            code = ErrorCode.CLIENT_LIMIT
        text = f"{text}; try again in {after} s"
        return Rejected(request.id, code, text, retry_after=after)
