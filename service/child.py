"""A child process of the supervisor, through all its lives.

Children are spawned, not forked: neither ZeroMQ nor onnxruntime survives a fork.
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

from cupola.scheduler.protocol.commands import LineBuffer

_SPAWN = multiprocessing.get_context("spawn")
STEADY_SECONDS = 10.0  # a child that lived so long is started again at once
LONGEST_PAUSE = 30.0
STOP_SECONDS = 5.0  # for a child that has nothing left to finish


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child: ``target(lifeline, *arguments)``."""

    name: str
    target: Callable[..., None]
    arguments: tuple[Any, ...]
    vital: bool = True  # no service without it
    stop_seconds: float = STOP_SECONDS
    environment: Mapping[str, str] = field(default_factory=dict)  # besides the supervisor's own


@dataclass(slots=True)
class Child:
    """A child through all its lives."""

    spec: ChildSpec
    process: SpawnProcess | None = None
    lifeline: socket.socket | None = None
    lines: LineBuffer = field(default_factory=LineBuffer)
    started_at: float = 0.0
    failures: int = 0
    restart_at: float | None = None

    def start(self, now: float) -> None:
        ours, theirs = socket.socketpair()
        self.process = _SPAWN.Process(
            target=self.spec.target,
            args=(theirs, *self.spec.arguments),
            name=f"cupola-{self.spec.name}",
            daemon=True,
        )
        with _added(self.spec.environment):
            self.process.start()
        theirs.close()
        self.lifeline, self.lines = ours, LineBuffer()
        self.started_at, self.restart_at = now, None

    def tell(self, line: str) -> None:
        try:
            if self.lifeline is not None:
                self.lifeline.sendall(line.encode() + b"\n")
        except OSError:
            return  # it has just died, which its sentinel tells

    def heard(self) -> list[str]:
        """Lines the child has sent."""
        if self.lifeline is None:
            return []
        try:
            data = self.lifeline.recv(4096)
        except OSError:
            data = b""
        if not data:  # it closed its end: only its sentinel counts now
            self.lifeline.close()
            self.lifeline = None
        return self.lines.feed(data)

    def ended(self, now: float) -> None:
        """Its process is gone: plan its next life."""
        self.clear()
        self.failures = 1 if now - self.started_at >= STEADY_SECONDS else self.failures + 1
        pause = 0.0 if self.failures == 1 else min(LONGEST_PAUSE, 0.25 * 2**self.failures)
        self.restart_at = now + pause

    def clear(self) -> None:
        if self.process is not None:
            self.process.join()
            self.process.close()
        if self.lifeline is not None:
            self.lifeline.close()
        self.process = self.lifeline = None


@contextmanager
def _added(variables: Mapping[str, str]) -> Iterator[None]:
    """A spawned process has the environment of its parent. What is set there already stays."""
    new = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]
