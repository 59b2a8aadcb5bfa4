"""How requests end: each is taken off the books and counted. Pure.

Most methods end some requests without the answer of a worker, and return what must be sent for it.
"""

from __future__ import annotations

from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    LoadModel,
    Outcome,
    Rejected,
    Submit,
)
from cupola.scheduler.state.records import Peer, Request, Send, Worker
from cupola.scheduler.state.requests import Requests
from cupola.scheduler.state.totals import Account, outcome_of
from cupola.scheduler.state.workers import Workers


class Endings:
    def __init__(
        self,
        requests: Requests,
        workers: Workers,
        suspicion: Suspicion,
        account: Account,
    ) -> None:
        self._requests = requests
        self._workers = workers
        self._suspicion = suspicion
        self._account = account

    def end(self, request: Request, outcome: Outcome | None) -> None:
        """It has ended in this way; None: it counts elsewhere."""
        self._requests.end(request)
        self._count(request.message, outcome)

    def turn_away(self, peer: Peer, message: Submit | LoadModel, refusal: Rejected) -> Send:
        """The answer to a request that does not even wait."""
        self._count(message, outcome_of(refusal.code))
        return Send(peer, refusal)

    def abort(self, request: Request, counts_as: Outcome | None = Outcome.ABORTED) -> list[Send]:
        """Nobody waits for it any more."""
        worker = request.worker
        self.end(request, counts_as)
        return [Send(worker.peer, Abort(request.id))] if worker else []

    def gateway_lost(self, gateway: Peer) -> list[Send]:
        """Nobody waits for the requests of this gateway."""
        requests = self._requests.of_gateway(gateway)
        return [send for request in requests for send in self.abort(request)]

    def expired(self, now: float) -> list[Send]:
        """Those that have waited for too long."""
        sends: list[Send] = []
        for request in self._requests.waiting.expired(now):
            text = _waited(request, "free worker")
            sends.append(self._reject(request, ErrorCode.QUEUE_TIMEOUT, text))
        for request in self._workers.postponed():
            if request.deadline <= now:
                sends += self.abort(request, outcome_of(ErrorCode.QUEUE_TIMEOUT))
                text = _waited(request, "grammar")
                sends.append(_rejected(request, ErrorCode.QUEUE_TIMEOUT, text))
        return sends

    def worker_lost(self, worker: Worker, now: float) -> list[Send]:
        """Those whose clients have got output. The others wait for another worker."""
        sends: list[Send] = []
        for request in list(worker.running.values()):
            if request.started:
                text = "the worker that ran this request ended unexpectedly; send it again"
                sends.append(self._reject(request, ErrorCode.WORKER_LOST, text))
            else:
                self._requests.wait_again(request, now)
        return sends

    def refused(self, now: float) -> list[Send]:
        """Those that wait and must not run any more, because they or their models are guilty."""
        sends: list[Send] = []
        for request in self._requests.waiting:
            if (refusal := self._suspicion.refusal(request, now)) is not None:
                self.end(request, outcome_of(refusal.code))
                sends.append(Send(request.gateway, refusal))
            elif not request.may_run_again:
                text = f"this request has lost its worker {request.attempts} times; send it again"
                sends.append(self._reject(request, ErrorCode.WORKER_LOST, text))
        return sends

    def _count(self, message: Submit | LoadModel, outcome: Outcome | None) -> None:
        """Loads are no work of a model, so they do not count."""
        if outcome is not None and isinstance(message, Submit):
            self._account.ended(outcome)

    def _reject(self, request: Request, code: ErrorCode, text: str) -> Send:
        self.end(request, outcome_of(code))
        return _rejected(request, code, text)


def _waited(request: Request, for_: str) -> str:
    return f"waited {request.deadline - request.since:g} s for a {for_}; try again later"


def _rejected(request: Request, code: ErrorCode, text: str) -> Send:
    return Send(request.gateway, Rejected(request.id, code, text))
