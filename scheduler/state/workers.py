"""The workers that are there, and how long each may be silent. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, ValuesView

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import Ready
from cupola.scheduler.protocol.pool import Member, Presence
from cupola.scheduler.protocol.status import WorkerStatus
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Peer, Request, Worker


class Workers(Mapping[Peer, Worker]):
    """By ZeroMQ identity."""

    def __init__(self, policy: SchedulerPolicy) -> None:
        self._policy = policy
        self._by_peer: dict[Peer, Worker] = {}
        self._pool: dict[str, Member] = {}
        # Names of those that get no further work, and end when they have finished.
        self.leaving: frozenset[str] = frozenset()
        # Names of those that have no process, and are to have none.
        self.stopped: frozenset[str] = frozenset()
        self._known_runnable: dict[ExecutionProvider, frozenset[str] | None] | None = None
        self.expect(Member(name, provider) for name, provider in policy.workers.items())

    def __getitem__(self, peer: Peer) -> Worker:
        return self._by_peer[peer]

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_peer)

    def __len__(self) -> int:
        return len(self._by_peer)

    def values(self) -> ValuesView[Worker]:
        """A mapping's own would look each of them up."""
        return self._by_peer.values()

    def expect(self, members: Iterable[Member]) -> None:
        """These should be there from now on."""
        self._pool = {member.name: member for member in members}
        self._known_runnable = None
        self.leaving, self.stopped = self._names(Presence.LEAVING), self._names(Presence.STOPPED)
        for worker in self.values():
            worker.leaving = worker.name in self.leaving

    def _names(self, presence: Presence) -> frozenset[str]:
        return frozenset(m.name for m in self._pool.values() if m.presence is presence)

    @property
    def providers(self) -> Collection[ExecutionProvider]:
        """What the workers run that are there or will be."""
        return self._runnable.keys()

    def may_run(self, model: LocalModel) -> bool:
        """Whether there is a worker that may run the model, or one may come."""
        models = self._runnable.get(model.provider, frozenset())
        return models is None or model.id in models

    @property
    def _runnable(self) -> dict[ExecutionProvider, frozenset[str] | None]:
        """The ids of the models that workers may run, by provider; None: all."""
        if self._known_runnable is None:
            self._known_runnable = self._look()
        return self._known_runnable

    def _look(self) -> dict[ExecutionProvider, frozenset[str] | None]:
        found: dict[ExecutionProvider, frozenset[str] | None] = {}
        for worker in self.values():
            before = found.get(worker.provider, frozenset())
            all_models = before is None or not worker.only
            found[worker.provider] = None if all_models else (before or frozenset()) | worker.only
        known = {worker.name for worker in self.values()} | self.stopped
        for member in self._pool.values():
            if member.name not in known:  # it will say which it may run when it comes
                found[member.provider] = None
        return found

    def serving(self, provider: ExecutionProvider) -> list[Worker]:
        """The workers of a provider that get work."""
        return [w for w in self.values() if w.provider is provider and not w.leaving]

    def join(self, peer: Peer, ready: Ready, now: float) -> None:
        self._known_runnable = None
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
            leaving=ready.name in self.leaving,
            only=frozenset(ready.only),
        )

    def remove(self, worker: Worker) -> None:
        del self._by_peer[worker.peer]
        self._known_runnable = None

    def named(self, name: str) -> list[Worker]:
        return [worker for worker in self.values() if worker.name == name]

    def holding(self, model_id: str) -> list[Worker]:
        """The workers that have loaded the model or are going to."""
        return [worker for worker in self.values() if model_id in worker.holds]

    def expired(self, now: float) -> list[Worker]:
        """The workers that have been silent for too long. They stay until removed."""
        return [worker for worker in self.values() if self._lease_end(worker) <= now]

    def deadlines(self) -> list[float]:
        """When the workers expire."""
        return [self._lease_end(worker) for worker in self.values()]

    def postponed(self) -> list[Request]:
        """The requests that were sent to a worker and hold no slot there yet."""
        return [w.running[i] for w in self.values() for i in sorted(w.postponed)]

    def missing(self) -> tuple[str, ...]:
        """Names of the workers that should be there and are not."""
        here = {worker.name for worker in self.values()}
        return tuple(sorted(self._pool.keys() - here - self.stopped))

    def statuses(self) -> tuple[WorkerStatus, ...]:
        """Sorted by name."""
        workers = sorted(self.values(), key=lambda worker: worker.name)
        return tuple(worker.status for worker in workers)

    def _lease_end(self, worker: Worker) -> float:
        lease = self._policy.lease + (self._policy.loading_lease if worker.loads else 0.0)
        return worker.heard_at + lease
