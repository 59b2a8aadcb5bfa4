"""The workers that should run, as operators change them while the service runs. Pure.

    serving ──leave──> leaving ──drained, and its process has ended──> serving again (restart),
       ^                                                               stopped (drain), or gone
       └──────────────────── restart ──── stopped ──── remove ──────> gone

The scheduler says when a worker that leaves has nothing left to do. The supervisor ends and starts
the processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.pool import MAX_WORKERS, Member, Presence, Then, free_name


class PoolError(ValueError):
    """The pool cannot be changed so. The text says why."""


@dataclass(slots=True)
class _Worker:
    provider: ExecutionProvider
    then: Then | None = None  # what follows when it is drained; None: it does not leave
    stopped: bool = False

    @property
    def stays(self) -> bool:
        """Whether it serves, or will again without being asked."""
        return not self.stopped and self.then in (None, Then.RESTART)

    @property
    def presence(self) -> Presence:
        if self.stopped:
            return Presence.STOPPED
        return Presence.LEAVING if self.then else Presence.SERVING


class WorkerPool:
    def __init__(self, workers: Mapping[str, ExecutionProvider]) -> None:
        """``workers``: the providers by the names of the workers."""
        self._workers = {name: _Worker(provider) for name, provider in workers.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._workers

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(Member(n, w.provider, w.presence) for n, w in self._workers.items())

    def add(self, device: str, provider: ExecutionProvider) -> str:
        """One more worker of a device. Returns its name. Raises PoolError."""
        if len(self._workers) >= MAX_WORKERS:
            raise PoolError(f"there are {MAX_WORKERS} workers already, which is the most")
        name = free_name(device, self._workers)
        self._workers[name] = _Worker(provider)
        return name

    def leave(self, name: str, then: Then) -> None:
        """Let a worker leave, or say anew what follows. Raises PoolError."""
        if (worker := self._workers.get(name)) is None:
            raise PoolError(f"there is no worker {name}")
        others = [w for w in self._workers.values() if w is not worker and w.stays]
        needed = not any(other.provider is worker.provider for other in others)
        if needed and then is not Then.RESTART:
            raise PoolError(f"{name} is the only worker that runs {worker.provider}")
        if not worker.stopped:
            worker.then = then
        elif then is Then.REMOVE:
            del self._workers[name]
        else:
            worker.stopped = then is Then.DRAIN

    def serves(self, name: str) -> bool:
        worker = self._workers.get(name)
        return worker is not None and worker.presence is Presence.SERVING

    def leaves(self, name: str) -> bool:
        worker = self._workers.get(name)
        return worker is not None and worker.then is not None

    def ended(self, name: str) -> None:
        """The process of a worker that leaves has ended."""
        worker = self._workers[name]
        then, worker.then = worker.then, None
        if then is Then.REMOVE:
            del self._workers[name]
        worker.stopped = then is Then.DRAIN
