"""What follows from the end of a worker or a gateway. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cupola.scheduler.endings import Endings
from cupola.scheduler.faults.suspicion import Suspicion
from cupola.scheduler.placement.affinity import Affinity
from cupola.scheduler.placement.drains import Drains
from cupola.scheduler.placement.replicas import Replicas
from cupola.scheduler.protocol.messages import Done
from cupola.scheduler.state.records import Peer, Send, Worker
from cupola.scheduler.state.state import State
from cupola.scheduler.status_report import StatusReport


class Losses:
    def __init__(
        self,
        state: State,
        suspicion: Suspicion,
        affinity: Affinity,
        drains: Drains,
        replicas: Replicas,
        endings: Endings,
        report: StatusReport,
    ) -> None:
        self._workers = state.workers
        self._gateways = state.gateways
        self._unloads = state.unloads
        self._suspicion = suspicion
        self._affinity = affinity
        self._drains = drains
        self._replicas = replicas
        self._endings = endings
        self._report = report

    def workers_died(self, workers: list[Worker], now: float) -> list[Send]:
        """They ended without a goodbye, so something that they did may be the cause."""
        for worker in workers:
            self._suspicion.worker_died(worker, now)
        return self.workers_left(workers, now) + self._endings.refused(now)

    def workers_silent(self, workers: list[Worker], now: float) -> list[Send]:
        """They are dead, or will be killed because they hang, or come back after a long step."""
        for worker in workers:
            self._suspicion.worker_silent(worker)
        return self.workers_left(workers, now) + (self._endings.refused(now) if workers else [])

    def workers_left(self, workers: Iterable[Worker], now: float) -> list[Send]:
        """Each of their requests waits again, or ends if it must not run again."""
        sends: list[Send] = []
        for worker in workers:
            self._report.changed()
            self._workers.remove(worker)
            self._affinity.lost(worker.peer)
            self._drains.worker_lost(worker)
            self._replicas.worker_lost(worker)
            sends += self._endings.worker_lost(worker, now)
            unloaded = self._unloads.worker_lost(worker.peer)
            sends += [Send(gateway, Done(request_id)) for request_id, gateway in unloaded]
        return sends

    def gateway_lost(self, gateway: Peer) -> list[Send]:
        """Nobody waits for its requests."""
        self._gateways.remove(gateway)
        self._unloads.gateway_lost(gateway)
        return self._endings.gateway_lost(gateway)
