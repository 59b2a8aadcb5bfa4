"""The workers that leave: what they hold moves to others, and who has nothing left to do. Pure.

A worker that leaves gets no further work. Models that only it holds are loaded on another worker,
so that the next request for them need not wait. It is drained when nothing runs on it any more and
these loads have ended, in whatever way. Nothing is lost if it ends before: then a model is loaded
when it is next asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import count

from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.protocol.messages import LoadModel
from cupola.scheduler.protocol.pool import Member
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.records import Peer, Send, Worker
from cupola.scheduler.state.workers import Workers

MAX_MODELS = 256  # whose folders are remembered at once


class Drains:
    def __init__(self, workers: Workers, suspicion: Suspicion) -> None:
        self._workers = workers
        self._suspicion = suspicion
        self._models: OrderedDict[str, LocalModel] = OrderedDict()  # the one asked for last is last
        self._moves: dict[str, tuple[str, Peer]] = {}  # by request id: who leaves, and who loads
        self._told: set[str] = set()  # names of those that were reported as drained
        self._numbers = count(1)

    def asked_for(self, model: LocalModel) -> None:
        """Remember where a model lies on the disk."""
        self._models[model.id] = model
        self._models.move_to_end(model.id)
        if len(self._models) > MAX_MODELS:
            self._models.popitem(last=False)

    def expect(self, members: Iterable[Member], now: float) -> list[Send]:
        """These are the workers that should be there from now on."""
        leaving_before = self._workers.leaving
        self._workers.expect(members)
        self._told &= self._workers.leaving
        return [
            send
            for name in sorted(self._workers.leaving - leaving_before)
            for worker in self._workers.named(name)
            for send in self._move(worker, now)
        ]

    def drained(self) -> list[str]:
        """The workers that leave and have nothing left to do, each once."""
        names = self._workers.leaving - self._told
        if not names:
            return []
        busy = {worker.name for worker in self._workers.values() if worker.running}
        busy |= {name for name, _ in self._moves.values()}
        done = sorted(names - busy)
        self._told |= set(done)
        return done

    def ended(self, request_id: str) -> bool:
        """A load has ended, well or not. False: it is none from here."""
        return self._moves.pop(request_id, None) is not None

    def worker_lost(self, worker: Worker) -> None:
        self._moves = {
            request_id: (name, loader)
            for request_id, (name, loader) in self._moves.items()
            if loader != worker.peer and name != worker.name
        }

    def _move(self, worker: Worker, now: float) -> list[Send]:
        """Have the models loaded elsewhere that no other worker holds."""
        sends: list[Send] = []
        for model_id in sorted(worker.resident):
            model = self._models.get(model_id)
            others = [o for o in self._workers.serving(worker.provider) if o.runs(model_id)]
            if model is None or not others or any(model_id in o.holds for o in others):
                continue
            if self._suspicion.models.is_suspect(model_id):
                continue
            if self._suspicion.models.refusal(model_id, now):
                continue
            loader = min(others, key=lambda other: (len(other.holds), len(other.running)))
            loader.loading |= {model_id}  # so that requests for it follow it there
            request_id = f"move-{next(self._numbers)}"
            self._moves[request_id] = (worker.name, loader.peer)
            sends.append(Send(loader.peer, LoadModel(request_id, model)))
        return sends
