"""Starts the scheduler, the workers and the gateways, restarts what ends, and stops all in order.

It waits on process sentinels and sockets, and never for a child to read. It looks again by itself
only while lines wait for a child that does not read them yet.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Iterable, Set
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from cupola.scheduler.protocol.commands import (
    LOG_LEVEL,
    NOT_LOADED,
    STARTED,
    STOP_AT_ONCE,
    set_log_level,
)
from cupola.scheduler.protocol.pool import CHANGE, DRAINED
from cupola.service.processes.child import Child, ChildSpec
from cupola.service.processes.watchdog import Patience, Watchdog
from cupola.service.processes.worker_children import WorkerChildren

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.05  # between two tries to send what a child has not read yet
AT_ONCE_SECONDS = 4.0  # for answers to end with an error, where nobody wants to wait for them
MAX_FAILURES = 5  # in a row, of a process that the service cannot do without


class GaveUpError(RuntimeError):
    """A process that the service needs cannot be kept running."""


class Supervisor:
    """Runs the processes of the service.

    ``ready`` is called once, when a gateway first sees a worker that can serve, with the ids of the
    models that workers could not load at their start. ``listeners`` are shared by the gateways.
    Closing them is the first step of the stop. ``patience``: when a child is taken for hung.
    ``each_turn`` is called whenever something has happened, which is every second or so.
    """

    def __init__(
        self,
        listeners: Iterable[socket.socket],
        scheduler: ChildSpec,
        workers: WorkerChildren,
        gateways: Iterable[ChildSpec],
        ready: Callable[[Set[str]], None],
        patience: Patience | None = None,
        each_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = tuple(listeners)
        self.scheduler = Child(scheduler)
        self.workers = workers
        workers.tell_scheduler = self.scheduler.tell
        self.gateways = [Child(spec) for spec in gateways]
        self._ready: Callable[[Set[str]], None] | None = ready
        self._not_loaded: set[str] = set()
        self._each_turn = each_turn
        self._watchdog = Watchdog(patience or Patience())
        self._shared: dict[str, str] = {}  # lines that one gateway sent and all must get
        self._log_level = ""  # the line that has changed it
        self._stopping = False
        self._end_by = math.inf  # the whole stop
        self._signals, self._wakeup = socket.socketpair()

    @property
    def children(self) -> list[Child]:
        return [self.scheduler, *self.workers.children, *self.gateways]

    def run(self) -> None:
        """Serve until a signal or a gateway's ``shutdown``. Raises GaveUpError."""
        self._catch_signals()
        try:
            for child in self.children:
                self._start(child, time.monotonic())
            while not self._stopping:
                self._wait(self.children, self._next_turn(time.monotonic()))
                self._kill_hung(time.monotonic())
                self._restart(time.monotonic())
                self._each_turn()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop everything: gateways finish their streams, then workers, the scheduler last."""
        self._stopping = True
        logger.info("stopping: running answers may finish; another signal ends them at once")
        for listener in self._listeners:
            listener.close()
        for group in (self.gateways, self.workers.children, [self.scheduler]):
            for child in group:
                child.tell("stop")
            self._await_exit(group)

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self, children: Iterable[Child], until: float | None) -> None:
        """Wait for the next event, and handle every event that has happened."""
        children = list(children)
        sources: dict[Any, Child | None] = {self._signals: None}
        for child in children:
            if child.process is not None:
                sources[child.process.sentinel] = child
            if child.lifeline is not None:
                sources[child.lifeline] = child
        timeout = None if until is None else max(0.0, until - time.monotonic())
        if any(child.waits for child in children):
            timeout = FLUSH_SECONDS if timeout is None else min(timeout, FLUSH_SECONDS)
        for source in wait(list(sources), timeout):
            owner = sources[source]
            if owner is None:
                self._on_signal()
            elif source is owner.lifeline:
                for line in owner.read_lines():
                    self._watchdog.heard(owner.spec.name, line, time.monotonic())
                    owner.serves |= line == STARTED
                    self._on_line(line)
            elif owner.process is not None and not owner.process.is_alive():
                self._on_exit(owner)
        for child in children:
            child.flush()

    def _on_line(self, line: str) -> None:
        if line == "shutdown":
            self._stopping = True
        elif line.startswith(f"{LOG_LEVEL} "):
            visible = logger.getEffectiveLevel()  # as long as it is so
            logger.log(visible, "the log has now: %s", line.removeprefix(f"{LOG_LEVEL} "))
            set_log_level(line)
            self._log_level = line
            for child in self.children:
                child.tell(line)
        elif line.startswith("remote "):
            verb, name, *model = line.split(" ", 2)
            self._shared.pop(f"{verb} {name}", None)
            if model:  # else it has been removed, and a new gateway need not know of it
                self._shared[f"{verb} {name}"] = line
            for gateway in self.gateways:
                gateway.tell(line)
        elif line.startswith(f"{CHANGE} "):
            self.workers.change(line.removeprefix(f"{CHANGE} "), time.monotonic())
        elif line.startswith(f"{DRAINED} "):
            self.workers.drained(line.removeprefix(f"{DRAINED} "), time.monotonic())
        elif line == "ready" and self._ready is not None:
            ready, self._ready = self._ready, None
            ready(self._not_loaded)
        elif line.startswith(f"{NOT_LOADED} "):  # a worker says so before a gateway sees it
            self._not_loaded.add(line.removeprefix(f"{NOT_LOADED} "))

    def _on_exit(self, child: Child) -> None:
        assert child.process is not None
        status = child.process.exitcode
        child.plan_restart(time.monotonic())
        self._watchdog.ended(child.spec.name)
        if self._stopping:
            return
        if child in self.workers.children and self.workers.ended(child, time.monotonic()):
            return
        logger.error("the %s ended unexpectedly (%s); starting it again", child.spec.name, status)
        if child.spec.vital and child.failures >= MAX_FAILURES:
            text = f"the {child.spec.name} ended {child.failures} times in a row; see the log above"
            raise GaveUpError(text)

    def _kill_hung(self, now: float) -> None:
        """Kill what makes no progress. Its end is then handled like that of a crash."""
        if self._stopping:
            return
        silent = dict(self._watchdog.overdue(now))
        for child in self.children:
            reason = child.broken
            if child.end_by is not None and child.end_by <= now:
                reason = "it did not end in time"
            if child.spec.name in silent:
                reason = f"it has made no progress for {silent[child.spec.name]:.0f} s"
            if reason and child.process is not None:
                logger.error("killing the %s: %s", child.spec.name, reason)
                child.broken, child.end_by = "", None
                child.process.kill()  # also ends a process that is stopped

    # -- restarting and stopping -------------------------------------------------------------------

    def _next_turn(self, now: float) -> float:
        restarts = [c.restart_at for c in self.children if c.restart_at is not None]
        ends = [c.end_by for c in self.children if c.end_by is not None]
        return min([self._watchdog.next_look(now), *restarts, *ends])

    def _start(self, child: Child, now: float) -> None:
        child.start(now)
        self._watchdog.started(child.spec.name, now)

    def _restart(self, now: float) -> None:
        for child in self.children:
            if child.restart_at is not None and child.restart_at <= now and not self._stopping:
                self._start(child, now)
                if self._log_level:
                    child.tell(self._log_level)
                for line in self._shared.values() if child in self.gateways else ():
                    child.tell(line)
                if child is self.scheduler:
                    child.tell(self.workers.line)

    def _await_exit(self, group: list[Child]) -> None:
        deadline = time.monotonic() + max((c.spec.stop_seconds for c in group), default=0)
        while any(child.process for child in group) and time.monotonic() < deadline:
            self._wait(group, deadline)
            deadline = min(deadline, self._end_by)
        for child in group:
            if child.process is not None:
                logger.warning("the %s did not stop in time; killing it", child.spec.name)
                child.process.kill()
                child.clear()

    # -- signals -----------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)  # the wake-up socket gets the signal

    def _on_signal(self) -> None:
        self._signals.recv(64)
        if self._stopping and self._end_by == math.inf:
            logger.warning("second signal: ending all answers at once")
            self._end_by = time.monotonic() + AT_ONCE_SECONDS
            for gateway in self.gateways:
                gateway.tell(STOP_AT_ONCE)
            self._kill([self.scheduler, *self.workers.children])
        elif self._stopping:
            logger.warning("another signal: killing all processes at once")
            self._kill(self.children)
        self._stopping = True

    @staticmethod
    def _kill(children: Iterable[Child]) -> None:
        for child in children:
            if child.process is not None:
                child.process.kill()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Python's own handler would raise an exception anywhere in the code."""
