"""What a worker tells the scheduler of itself, and what the scheduler knows of it already."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import Heartbeat, Postponed, Ready
from cupola.workers.read_beginnings import ReadBeginnings
from cupola.workers.residency import Residency


@dataclass(frozen=True, slots=True)
class Identity:
    """What Ready says of the worker's process."""

    name: str
    provider: ExecutionProvider
    pid: int
    slots: int
    fatal: tuple[str, ...] = ()  # ids of models whose loads ended the processes before this one
    spare: int = 0  # of the slots, those for clients that run nothing here
    only: frozenset[str] = frozenset()  # ids of the only models that it runs; empty: all


class SelfReport:
    """Makes the messages. ``ready`` tells all; the others tell what has changed since."""

    def __init__(self, identity: Identity, residency: Residency) -> None:
        self._identity = identity
        self._residency = residency
        self._postponed: frozenset[str] = frozenset()
        self._slots = identity.slots
        self.beginnings = ReadBeginnings()
        self.evicted = 0  # models, since the last heartbeat

    @property
    def slots(self) -> int:
        """How many requests the worker takes at once: as many as one of its models can run."""
        known = (backend.capacity for backend in self._residency.backends)
        return max(known, default=0) or self._identity.slots

    def ready(self, now: float) -> Ready:
        identity, models = self._identity, self._residency
        self._postponed = frozenset()
        self._slots = self.slots
        self.beginnings.tell_again()
        return Ready(
            name=identity.name,
            provider=identity.provider,
            pid=identity.pid,
            slots=self._slots,
            resident=models.loaded,
            loading=models.loading,
            serving=models.serving(now),
            fatal=identity.fatal,
            spare=identity.spare,
            only=tuple(sorted(identity.only)),
        )

    def heartbeat(self, now: float, resident_bytes: int = 0) -> Heartbeat:
        """``resident_bytes``: the memory of this process; 0: not measured."""
        models = self._residency
        memory_bytes = max(0, resident_bytes - models.shared_bytes)
        slots = self.slots if self.slots != self._slots else 0
        self._slots = self.slots
        serving = models.serving(now)
        news = self.beginnings.news()
        evicted, self.evicted = self.evicted, 0
        return Heartbeat(memory_bytes, models.loaded, models.loading, serving, slots, news, evicted)

    def resized(self, now: float) -> list[Heartbeat]:
        """Says how many requests the worker takes if that has changed."""
        return [self.heartbeat(now)] if self.slots != self._slots else []

    def postponed(self) -> list[Postponed]:
        """Which requests take no place for now, if that has changed."""
        now = frozenset().union(*(b.postponed for b in self._residency.backends))
        if now == self._postponed:
            return []
        self._postponed = now
        return [Postponed(tuple(sorted(now)))]
