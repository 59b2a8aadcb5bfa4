"""A child process of the supervisor, over all its restarts.

Children are spawned and not forked, because neither ZeroMQ nor onnxruntime survives a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from typing import Any

from cupola.scheduler.protocol.lines import READ_BYTES, LineBuffer, LineError, Outbox

_SPAWN = multiprocessing.get_context("spawn")
STEADY_SECONDS = 10.0  # a child that ran for so long is started again at once
LONGEST_PAUSE = 30.0  # seconds before a restart
MAX_FAILED_STARTS = 3  # in a row: the child ended before it served
STOP_SECONDS = 5.0  # how long a child that has nothing to finish may take to stop


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child: ``target(lifeline, *arguments)``."""

    name: str
    target: Callable[..., None]
    arguments: tuple[Any, ...]
    cautious: tuple[Any, ...] = ()  # used instead after MAX_FAILED_STARTS; empty: the same
    vital: bool = True  # the service cannot run without it
    stop_seconds: float = STOP_SECONDS
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the supervisor's


@dataclass(slots=True)
class Child:
    """A child over all its restarts. While it does not run, it has no process and no lifeline."""

    spec: ChildSpec
    process: SpawnProcess | None = None
    lifeline: socket.socket | None = None
    lines: LineBuffer = field(default_factory=LineBuffer)
    outbox: Outbox | None = None
    broken: str = ""  # what is wrong with how it uses its lifeline; empty: nothing
    started_at: float = 0.0
    failures: int = 0  # in a row
    serves: bool = False  # the process has said so
    failed_starts: int = 0  # in a row
    restart_at: float | None = None
    ending: bool = False  # it is to end, and its end is no failure
    end_by: float | None = None  # it is killed if it has not ended by then

    def start(self, now: float) -> None:
        ours, theirs = socket.socketpair()
        is_cautious = self.spec.cautious and self.failed_starts >= MAX_FAILED_STARTS
        arguments = self.spec.cautious if is_cautious else self.spec.arguments
        self.process = _SPAWN.Process(
            target=self.spec.target,
            args=(theirs, *arguments),
            name=f"cupola-{self.spec.name}",
            daemon=True,
        )
        with _environment(self.spec.environment):
            self.process.start()
        theirs.close()
        self.lifeline, self.lines, self.outbox = ours, LineBuffer(), Outbox(ours)
        self.broken, self.serves = "", False
        self.ending, self.end_by = False, None
        self.started_at, self.restart_at = now, None

    def tell(self, line: str) -> None:
        """Send a line to the child. It is no error if the child does not run.

        What the child does not take yet waits for ``flush``. If too much waits, it is ``broken``.
        """
        try:
            if self.outbox is not None:
                self.outbox.put(line)
        except LineError as error:
            self.broken = str(error)

    @property
    def waits(self) -> bool:
        """Whether lines wait for the child to read."""
        return self.outbox is not None and self.outbox.waits

    def flush(self) -> None:
        """Send what waits, as far as the child takes it."""
        if self.outbox is not None:
            self.outbox.flush()

    def read_lines(self) -> list[str]:
        """The lines that the child has sent since the last call. Never blocks."""
        if self.lifeline is None:
            return []
        try:
            data = self.lifeline.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:  # the child closed its end: its sentinel says when it has ended
            self._close_lifeline()
        try:
            return self.lines.feed(data)
        except LineError as error:
            self.broken = str(error)
            return []

    def plan_restart(self, now: float) -> None:
        """The process has ended: set when it is started again."""
        self.clear()
        self.failed_starts = 0 if self.serves else self.failed_starts + 1
        self.failures = 1 if now - self.started_at >= STEADY_SECONDS else self.failures + 1
        pause = 0.0 if self.failures == 1 else min(LONGEST_PAUSE, 0.25 * 2**self.failures)
        self.restart_at = now + pause

    def clear(self) -> None:
        """Free the process that has ended, and the lifeline to it."""
        if self.process is not None:
            self.process.join()
            self.process.close()
        self._close_lifeline()
        self.process = None

    def _close_lifeline(self) -> None:
        if self.lifeline is not None:
            self.lifeline.close()
        self.lifeline = self.outbox = None


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Add variables to this process's environment, which a spawned process inherits.

    A variable that is set already keeps its value.
    """
    new = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]
