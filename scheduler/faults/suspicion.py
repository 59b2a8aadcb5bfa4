"""Who ends workers: finds the guilty by running suspects apart. Pure.

When a worker dies, any of its requests may be the cause. Those that can run again do so apart: one
at a time, with nothing beside it on its worker. So the next death has one cause only, and costs
nobody else. Output acquits a request. A request that waited for its model to be loaded has done
nothing yet: the suspect is the model, whose next load is apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cupola.scheduler.faults.model_quarantine import MAX_FAILURES, ModelQuarantine
from cupola.scheduler.faults.request_quarantine import RequestQuarantine
from cupola.scheduler.protocol.messages import ErrorCode, Rejected, Submit
from cupola.scheduler.state.records import Peer, Request, Worker


class Suspicion:
    def __init__(self) -> None:
        self.requests = RequestQuarantine()
        self.models = ModelQuarantine()
        self._silent: dict[str, Worker] = {}  # by name: what was running when their leases ended

    def worker_died(self, worker: Worker, now: float) -> None:
        """Suspect what the worker did when it died."""
        loading = set(worker.loading) | {request.model.id for request in worker.running.values()}
        loading -= worker.resident
        for model_id in sorted(loading):
            self.models.failed(model_id, _fatal(model_id), now, ended_worker=True)
        ran = [r for r in worker.running.values() if r.model.id not in loading]
        for request in ran:
            if request.worker in (worker, None):  # else it runs elsewhere by now
                request.suspect = not request.started
        if len(ran) == 1 and not loading and isinstance(message := ran[0].message, Submit):
            self.requests.ended_worker(message, now)

    def worker_silent(self, worker: Worker) -> None:
        """Its lease has ended. That is no death: a busy machine makes long steps."""
        self._silent[worker.name] = replace(worker, running=dict(worker.running))

    def silent_worker_died(self, name: str, now: float) -> None:
        """The process of a worker has ended. If it was silent before, it did so as it was then."""
        if (worker := self._silent.pop(name, None)) is not None:
            self.worker_died(worker, now)

    def worker_joined(self, peer: Peer, name: str, now: float) -> None:
        """A worker has come back, or a new process takes its place."""
        if name in self._silent and self._silent[name].peer == peer:
            del self._silent[name]
        self.silent_worker_died(name, now)

    def loads_killed(self, model_ids: Iterable[str], now: float) -> None:
        """A worker has learned that these loads at its start ended it, time after time."""
        for model_id in model_ids:
            self.models.failed(
                model_id, _fatal(model_id), now, ended_worker=True, times=MAX_FAILURES
            )

    def load_failed(self, request: Request, reason: str, now: float) -> None:
        """A worker could not load the model of this request. It says so to each that waits."""
        if request.heard_of_failure or request.worker is None:
            return
        for other in request.worker.running.values():
            other.heard_of_failure |= other.model.id == request.model.id
        self.models.failed(request.model.id, reason, now, ended_worker=False)

    def refusal(self, request: Request, now: float) -> Rejected | None:
        """The end of a request that must not be run now; None: it may run."""
        if text := self.models.refusal(request.model.id, now):
            return Rejected(request.id, ErrorCode.MODEL_LOAD_FAILED, text)
        message = request.message
        if isinstance(message, Submit) and (text := self.requests.refusal(message, now)):
            return Rejected(request.id, ErrorCode.QUARANTINED, text)
        return None

    def kept_apart(self, request: Request) -> str:
        """What must run alone: this request, or all that wait for its model; empty: neither.

        Requests with the same answer may share a worker.
        """
        if request.suspect:
            return f"request {request.id}"
        return f"model {request.model.id}" if self.models.is_suspect(request.model.id) else ""


def _fatal(model_id: str) -> str:
    return f"the model '{model_id}' could not be loaded: it ended its worker"
