"""Which worker runs a request. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.placement.affinity import Affinity
from cupola.scheduler.state.records import Request, Worker

_BUSIER = 2  # times as many requests as another worker, and so many more: that is much busier

Apart = Callable[[Request], str]  # see ``Suspicion.kept_apart``


class Placement:
    """The workers for the requests that wait, which are asked for in the order of service."""

    def __init__(self, workers: Collection[Worker], apart: Apart, affinity: Affinity) -> None:
        self._workers = workers
        self._apart = apart
        self._affinity = affinity
        self._reserved: set[Worker] = set()

    def is_full(self, provider: ExecutionProvider) -> bool:
        """Whether no worker of this provider takes another request."""
        return not any(worker.free > 0 for worker in self._possible(provider))

    @property
    def differ(self) -> bool:
        """Whether some workers run some models only: who waits need not hold up its client."""
        return any(worker.only for worker in self._workers)

    def _possible(self, provider: ExecutionProvider) -> list[Worker]:
        return [
            worker
            for worker in self._workers
            if worker.provider is provider and not worker.leaving and worker not in self._reserved
        ]

    def place(self, request: Request) -> Worker | None:
        """The worker to use; None: it must wait.

        Loading a model costs seconds and its memory, so a worker that holds it is preferred as long
        as it has a free slot. Then one that has read the beginning of the prompt, if it is not much
        busier than another. Then the least loaded. A request that is kept apart needs a worker that
        runs nothing; if there is none, the least loaded takes no others until it is empty.
        """
        provider, wanted = request.model.provider, self._apart(request)
        possible = [w for w in self._possible(provider) if w.runs(request.model.id)]
        able = [w for w in possible if self._has_room(w, request) and self._admits(w, wanted)]
        if not able and wanted and possible:
            self._reserved.add(min(possible, key=lambda w: (not self._kept(w), len(w.running))))
        if len(able) < 2:
            return able[0] if able else None
        known = self._affinity.known(request.beginnings)
        holders = [worker for worker in able if request.model.id in worker.holds] or able
        busy = _BUSIER * min(len(worker.running) for worker in holders) + _BUSIER
        return max(
            holders,
            key=lambda w: (known.get(w.peer, 0) if len(w.running) <= busy else 0, w.free),
        )

    @staticmethod
    def _has_room(worker: Worker, request: Request) -> bool:
        return worker.room_for(request.client) > 0

    def _admits(self, worker: Worker, wanted: str) -> bool:
        """Whether the worker may run a request that is kept apart as ``wanted``."""
        return not worker.running or self._kept(worker) == wanted

    def _kept(self, worker: Worker) -> str:
        """What the worker keeps apart now."""
        kept = (self._apart(request) for request in worker.running.values())
        return next((name for name in kept if name), "")
