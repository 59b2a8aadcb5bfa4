"""How many workers hold a model: more while it is in demand, fewer when it is not. Pure.

A model is hot if more than half of its holders' slots are in use, and this lasts for a while. Then
an idle worker loads it. It is cool if one holder fewer would have less than a quarter of its slots
in use, for much longer. Then a holder that had it from here, and runs nothing, unloads it. The two
bounds and times are far apart, so that the number does not go up and down with every wave.
"""

from __future__ import annotations

from collections import Counter
from itertools import count

from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.protocol.messages import LoadModel, UnloadModel
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.records import Peer, Send, Worker
from cupola.scheduler.state.workers import Workers

LOOK_SECONDS = 1.0  # between two looks
HOT, HOT_SECONDS = 0.5, 3.0  # share of the slots in use, and for how long
COOL, COOL_SECONDS = 0.25, 60.0
PAUSE_SECONDS = 60.0  # after a load that has failed


class Replicas:
    def __init__(self, workers: Workers, suspicion: Suspicion) -> None:
        self._workers = workers
        self._suspicion = suspicion
        self._next_look = 0.0
        self._hot_since: dict[str, float] = {}  # by model
        self._cool_since: dict[str, float] = {}
        self._added: dict[str, set[Peer]] = {}  # by model: the holders that have it from here
        self._sent: dict[str, tuple[str, Peer]] = {}  # loads and unloads: (model, worker) by id
        self._pause_until: dict[str, float] = {}  # by model
        self._numbers = count(1)

    def ended(self, request_id: str, failed: bool, now: float) -> bool:
        """A load or an unload has ended. False: it is none from here."""
        if request_id not in self._sent:
            return False
        model_id, peer = self._sent.pop(request_id)
        if failed:
            self._pause_until[model_id] = now + PAUSE_SECONDS
            self._added.get(model_id, set()).discard(peer)
        return True

    def worker_lost(self, worker: Worker) -> None:
        for peers in self._added.values():
            peers.discard(worker.peer)
        self._sent = {i: sent for i, sent in self._sent.items() if sent[1] != worker.peer}

    def look(self, now: float) -> list[Send]:
        """Loads and unloads that should happen now. Looks at most every LOOK_SECONDS."""
        if now < self._next_look or len(self._workers) < 2:
            return []
        self._next_look = now + LOOK_SECONDS
        models: dict[str, LocalModel] = {}
        running = Counter[str]()
        for worker in self._workers.values():
            for request in worker.running.values():
                models[request.model.id] = request.model
                running[request.model.id] += 1
        self._pause_until = {m: until for m, until in self._pause_until.items() if until > now}
        sends = self._grow(models, running, now)
        return sends or self._shrink(running, now)

    def _grow(self, models: dict[str, LocalModel], running: Counter[str], now: float) -> list[Send]:
        hot = {
            model_id: self._hot_since.get(model_id, now)
            for model_id, model in models.items()
            if self._is_hot(model, running[model_id])
        }
        self._hot_since = hot
        for model_id, since in sorted(hot.items(), key=lambda item: item[1]):
            refused = self._suspicion.models.refusal(model_id, now)
            suspect = refused or self._suspicion.models.is_suspect(model_id)
            if now - since < HOT_SECONDS or suspect or model_id in self._pause_until:
                continue
            if (worker := self._idle(models[model_id])) is not None:
                del self._hot_since[model_id]
                worker.loading |= {model_id}
                self._added.setdefault(model_id, set()).add(worker.peer)
                number = self._number(model_id, worker.peer)
                return [Send(worker.peer, LoadModel(number, models[model_id]))]
        return []

    def _shrink(self, running: Counter[str], now: float) -> list[Send]:
        cool: dict[str, float] = {}
        for model_id, added in self._added.items():
            holders = self._holders(model_id)
            fewer = sorted(worker.slots for worker in holders)[:-1]
            if added and fewer and running[model_id] < COOL * sum(fewer):
                cool[model_id] = self._cool_since.get(model_id, now)
        self._cool_since = cool
        for model_id, since in cool.items():
            added = self._added[model_id]
            idle = [w for w in self._holders(model_id) if not w.running and w.peer in added]
            if now - since < COOL_SECONDS or not idle:
                continue
            del self._cool_since[model_id]
            peer = idle[-1].peer
            added.discard(peer)
            number = self._number(model_id, peer)
            return [Send(peer, UnloadModel(number, model_id, force=False))]
        return []

    def _is_hot(self, model: LocalModel, running: int) -> bool:
        holders = self._holders(model.id)
        slots = sum(worker.slots for worker in holders)
        loaded = all(model.id in worker.resident for worker in holders)
        return loaded and running > HOT * slots

    def _holders(self, model_id: str) -> list[Worker]:
        return [w for w in self._workers.values() if model_id in w.holds and not w.leaving]

    def _idle(self, model: LocalModel) -> Worker | None:
        """A worker without work that may load the model; the one that holds the fewest."""
        idle = [
            worker
            for worker in self._workers.serving(model.provider)
            if not worker.running and not worker.loads and model.id not in worker.holds
            if worker.runs(model.id)
        ]
        return min(idle, key=lambda worker: len(worker.holds), default=None)

    def _number(self, model_id: str, peer: Peer) -> str:
        request_id = f"replica-{next(self._numbers)}"
        self._sent[request_id] = model_id, peer
        return request_id
