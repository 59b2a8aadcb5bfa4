"""From waiting to running: which request starts on which worker, and what that is charged. Pure."""

from __future__ import annotations

from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.placement.affinity import Affinity
from cupola.scheduler.placement.placement import Placement
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.state.records import Request, Send, Worker
from cupola.scheduler.state.requests import Requests
from cupola.scheduler.state.workers import Workers
from cupola.scheduler.waiting.service_rate import ServiceRate
from cupola.scheduler.waiting.token_counters import TokenCounters

LOOK_AHEAD = 64  # requests that cannot start now, before it is given up


class Dispatch:
    def __init__(
        self,
        requests: Requests,
        workers: Workers,
        suspicion: Suspicion,
        counters: TokenCounters,
    ) -> None:
        self._requests = requests
        self._workers = workers
        self._suspicion = suspicion
        self._counters = counters
        self.rate = ServiceRate()
        self.affinity = Affinity()

    def run(self, now: float) -> list[Send]:
        """Start every waiting request that some worker can take, in the order of service."""
        sends: list[Send] = []
        if not self._requests.waiting:
            return sends
        placement = Placement(self._workers.values(), self._suspicion.kept_apart, self.affinity)
        for kind in dict.fromkeys(worker.provider for worker in self._workers.values()):
            misses = 0
            with self._requests.waiting.round(kind, now) as order:
                while misses < LOOK_AHEAD and not placement.is_full(kind):
                    if (request := order.next()) is None:
                        break
                    if (worker := placement.place(request)) is not None:
                        sends.append(self._start(request, worker, now))
                        continue
                    misses += 1
                    if placement.differ or self._suspicion.kept_apart(request):
                        order.leave_request(request)
                    else:
                        order.leave_client(request.client)
        return sends

    def _start(self, request: Request, worker: Worker, now: float) -> Send:
        self._counters.is_next(request.client)
        if not request.charged:
            request.charged = True
            self._counters.charge(request.client, prompt=request.size)
        self._requests.start(request, worker)
        self.affinity.sent(request.beginnings, worker.peer)
        self.rate.started(now)
        return Send(worker.peer, request.message)

    def served(self, request: Request, output: Output) -> None:
        """A worker tells of tokens. Now it is known how many of the prompt's were computed."""
        prompt = 0
        if (usage := output.prompt_usage) is not None:
            prompt = usage.prompt_tokens - usage.cached_tokens - request.size
        if prompt or output.made:
            self._counters.charge(request.client, prompt=prompt, generated=output.made)
