"""How requests end without the answer of a worker. Pure.

Each method ends some requests and returns what must be sent for it.
"""

from __future__ import annotations

from cupola.scheduler.protocol.messages import Abort, ErrorCode, Rejected
from cupola.scheduler.records import Peer, Request, Send, Worker
from cupola.scheduler.requests import Requests
from cupola.scheduler.suspicion import Suspicion
from cupola.scheduler.workers import Workers


class Endings:
    def __init__(
        self, requests: Requests, workers: Workers, suspicion: Suspicion, patience: float
    ) -> None:
        """``patience``: how many seconds a request may wait; for the texts."""
        self._requests = requests
        self._workers = workers
        self._suspicion = suspicion
        self._patience = patience

    def abort(self, request: Request) -> list[Send]:
        """Nobody waits for it any more."""
        worker = request.worker
        self._requests.end(request)
        return [Send(worker.peer, Abort(request.id))] if worker else []

    def gateway_lost(self, gateway: Peer) -> list[Send]:
        """Nobody waits for the requests of this gateway."""
        requests = self._requests.of_gateway(gateway)
        return [send for request in requests for send in self.abort(request)]

    def expired(self, now: float) -> list[Send]:
        """Those that have waited for too long."""
        sends: list[Send] = []
        for request in self._requests.waiting.expired(now):
            sends.append(
                self._reject(request, ErrorCode.QUEUE_TIMEOUT, self._waited("free worker"))
            )
        for request in self._workers.postponed():
            if request.deadline <= now:
                sends += self.abort(request)
                text = self._waited("grammar")
                sends.append(_rejected(request, ErrorCode.QUEUE_TIMEOUT, text))
        return sends

    def worker_lost(self, worker: Worker) -> list[Send]:
        """Those whose clients have got output. The others wait for another worker."""
        sends: list[Send] = []
        for request in list(worker.running.values()):
            if request.started:
                text = "the worker that ran this request ended unexpectedly; send it again"
                sends.append(self._reject(request, ErrorCode.WORKER_LOST, text))
            else:
                self._requests.wait_again(request)
        return sends

    def refused(self, now: float) -> list[Send]:
        """Those that wait and must not run any more, because they or their models are guilty."""
        sends: list[Send] = []
        for request in self._requests.waiting:
            if (refusal := self._suspicion.refusal(request, now)) is not None:
                self._requests.end(request)
                sends.append(Send(request.gateway, refusal))
            elif not request.may_run_again:
                text = f"this request has lost its worker {request.attempts} times; send it again"
                sends.append(self._reject(request, ErrorCode.WORKER_LOST, text))
        return sends

    def _waited(self, for_: str) -> str:
        return f"waited {self._patience:g} s for a {for_}; try again later"

    def _reject(self, request: Request, code: ErrorCode, text: str) -> Send:
        self._requests.end(request)
        return _rejected(request, code, text)


def _rejected(request: Request, code: ErrorCode, text: str) -> Send:
    return Send(request.gateway, Rejected(request.id, code, text))
