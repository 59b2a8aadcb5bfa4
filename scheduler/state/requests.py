"""The requests that have not ended. Pure.

add ──> waiting ──start──> running ──end──> gone
           ^ └──────────────end───────────────^
           └──wait_again──────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cupola.scheduler.state.records import Peer, Request, Worker
from cupola.scheduler.waiting.queue import WaitingQueue


class Requests(Mapping[str, Request]):
    """By id. Each request either waits in ``waiting`` or runs on its worker."""

    def __init__(self, waiting: WaitingQueue[Request]) -> None:
        self.waiting = waiting
        self._by_id: dict[str, Request] = {}

    def __getitem__(self, request_id: str) -> Request:
        return self._by_id[request_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, request: Request, now: float) -> None:
        self._by_id[request.id] = request
        self.waiting.push(request, now)

    def start(self, request: Request, worker: Worker) -> None:
        """A waiting request runs on ``worker`` from now on."""
        self.waiting.remove(request)
        request.worker = worker
        request.attempts += 1
        worker.running[request.id] = request
        worker.loading |= {request.model.id}  # so that requests for the same model follow it there

    def wait_again(self, request: Request, now: float) -> None:
        """The worker of a running request is gone."""
        self._leave_worker(request)
        self.waiting.push(request, now)

    def end(self, request: Request) -> None:
        del self._by_id[request.id]
        self.waiting.remove(request)
        self._leave_worker(request)

    def postpone(self, worker: Worker, request_ids: Iterable[str]) -> None:
        """Of the requests that run on ``worker``, these hold no slot now, and all others do."""
        worker.postponed = {i for i in request_ids if i in worker.running}

    def running_on(self, worker: Peer, request_id: str) -> Request | None:
        """The request, if it runs on that worker."""
        request = self._by_id.get(request_id)
        if request is None or request.worker is None or request.worker.peer != worker:
            return None
        return request

    def of_gateway(self, gateway: Peer) -> list[Request]:
        return [request for request in self.values() if request.gateway == gateway]

    @staticmethod
    def _leave_worker(request: Request) -> None:
        if request.worker:
            del request.worker.running[request.id]
            request.worker.postponed.discard(request.id)
            request.worker = None
