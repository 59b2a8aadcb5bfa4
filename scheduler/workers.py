"""The workers that are there, and how long each may be silent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cupola.scheduler.policy import SchedulerPolicy
from cupola.scheduler.protocol.messages import Ready, WorkerStatus
from cupola.scheduler.records import Peer, Request, Worker


class Workers(Mapping[Peer, Worker]):
    """By ZeroMQ identity."""

    def __init__(self, policy: SchedulerPolicy) -> None:
        self._policy = policy
        self._by_peer: dict[Peer, Worker] = {}

    def __getitem__(self, peer: Peer) -> Worker:
        return self._by_peer[peer]

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_peer)

    def __len__(self) -> int:
        return len(self._by_peer)

    def join(self, peer: Peer, ready: Ready, now: float) -> None:
        self._by_peer[peer] = Worker(
            peer=peer,
            name=ready.name,
            provider=ready.provider,
            pid=ready.pid,
            slots=ready.slots,
            heard_at=now,
            resident=frozenset(ready.resident),
            loading=frozenset(ready.loading),
            serving=ready.serving,
            spare=ready.spare,
        )

    def remove(self, worker: Worker) -> None:
        del self._by_peer[worker.peer]

    def named(self, name: str) -> list[Worker]:
        return [worker for worker in self.values() if worker.name == name]

    def holding(self, model_id: str) -> list[Worker]:
        """The workers that have loaded the model or are going to."""
        return [worker for worker in self.values() if model_id in worker.holds]

    def expired(self, now: float) -> list[Worker]:
        """The workers that have been silent for too long. They stay until removed."""
        return [worker for worker in self.values() if self._lease_end(worker) <= now]

    def next_deadline(self) -> float | None:
        """When the next worker expires; None: there is no worker."""
        return min((self._lease_end(worker) for worker in self.values()), default=None)

    def postponed(self) -> list[Request]:
        """The requests that were sent to a worker and hold no slot there yet."""
        return [w.running[i] for w in self.values() for i in sorted(w.postponed)]

    def missing(self) -> tuple[str, ...]:
        """Names of the workers that should be there and are not."""
        return tuple(sorted(self._policy.workers.keys() - {w.name for w in self.values()}))

    def statuses(self) -> tuple[WorkerStatus, ...]:
        """Sorted by name."""
        workers = sorted(self.values(), key=lambda worker: worker.name)
        return tuple(worker.status for worker in workers)

    def _lease_end(self, worker: Worker) -> float:
        lease = self._policy.lease + (self._policy.loading_lease if worker.loads else 0.0)
        return worker.heard_at + lease
