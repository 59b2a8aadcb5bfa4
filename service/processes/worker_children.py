"""The processes of the workers, as the pool of workers wants them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.pool import (
    LEFT,
    AddWorker,
    WorkerLeaves,
    change_of,
    device_of,
    pool_line,
)
from cupola.service.processes.child import Child, ChildSpec
from cupola.service.processes.worker_pool import PoolError, WorkerPool

logger = logging.getLogger(__name__)

NewWorker = Callable[[str, int], ChildSpec]  # of a name and a number of threads; 0: as others have


class WorkerChildren:
    """``workers``: the specifications of those to begin with, and their providers.

    ``new_worker`` makes the specification of a further one. ``tell_scheduler`` sends a line.
    Processes that are to be started get a ``restart_at``.
    """

    def __init__(
        self,
        workers: Sequence[tuple[ChildSpec, ExecutionProvider]],
        new_worker: NewWorker | None = None,
    ) -> None:
        self.children = [Child(spec) for spec, _ in workers]
        self.tell_scheduler: Callable[[str], None] = lambda line: None
        self._pool = WorkerPool({spec.name: provider for spec, provider in workers})
        self._providers = {device_of(spec.name): provider for spec, provider in workers}
        self._new_worker = new_worker

    @property
    def line(self) -> str:
        """What the scheduler must know."""
        return pool_line(self._pool.members)

    def change(self, text: str, now: float) -> None:
        """Do what an operator wants. What cannot be done is logged: the gateway has looked."""
        try:
            match change := change_of(text):
                case AddWorker():
                    self._add(change, now)
                case WorkerLeaves():
                    self._let_leave(change, now)
        except ValueError as error:  # also PoolError
            logger.warning("the workers stay as they are: %s", error)

    def drained(self, name: str, now: float) -> None:
        """The scheduler says that a worker which leaves has nothing left to do."""
        child = self._child(name)
        if child is None or not self._pool.leaves(name):
            return
        if child.process is None:  # it waits to be started again
            self._left(child, now)
        elif not child.ending:
            child.ending, child.end_by = True, now + child.spec.stop_seconds
            child.tell("stop")

    def ended(self, child: Child, now: float) -> bool:
        """A process has ended. False: nobody wanted that, and it is started again."""
        name = child.spec.name
        if not self._pool.leaves(name):
            self.tell_scheduler(f"lost {name}")
            return False
        if child.ending:
            logger.info("the worker %s has left", name)
            self.tell_scheduler(f"{LEFT} {name}")
        else:
            logger.error("the worker %s, which is to leave, ended unexpectedly", name)
            self.tell_scheduler(f"lost {name}")
        self._left(child, now)
        return True

    def _add(self, wanted: AddWorker, now: float) -> None:
        provider = self._providers.get(wanted.device)
        if provider is None or self._new_worker is None:
            raise PoolError(f"no worker of the settings runs on {wanted.device}")
        name = self._pool.add(wanted.device, provider)
        child = Child(self._new_worker(name, wanted.threads), restart_at=now)
        self.children.append(child)
        logger.info("adding the worker %s", name)
        self.tell_scheduler(self.line)

    def _let_leave(self, wanted: WorkerLeaves, now: float) -> None:
        self._pool.leave(wanted.name, wanted.then)
        logger.info("the worker %s leaves; then: %s", wanted.name, wanted.then)
        if (child := self._child(wanted.name)) is None:
            return
        if not self._pool.leaves(wanted.name):  # it had been stopped
            self._follow(child, now)
        elif wanted.now and child.process is not None:
            child.ending = True
            child.process.kill()
        self.tell_scheduler(self.line)

    def _left(self, child: Child, now: float) -> None:
        """The process of a worker that was to leave is gone."""
        self._pool.ended(child.spec.name)
        child.failures = child.failed_starts = 0
        child.restart_at = None
        self._follow(child, now)
        self.tell_scheduler(self.line)

    def _follow(self, child: Child, now: float) -> None:
        """Have a worker without a process started, or forget it, as the pool says."""
        if child.spec.name not in self._pool:
            self.children.remove(child)
        elif self._pool.serves(child.spec.name):
            child.restart_at = now

    def _child(self, name: str) -> Child | None:
        return next((child for child in self.children if child.spec.name == name), None)
