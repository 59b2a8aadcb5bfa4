"""Runs the command line as a user would: in a process of its own, or in that of the tests."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest

from cupola.client.commands import main

COMMAND = [sys.executable, "-W", "error", "-m", "cupola.client.commands.main"]
LONGEST = 60.0  # seconds for any command: so that a test that waits in vain ends


@dataclass(frozen=True)
class Cli:
    """Runs commands in an environment: a data folder, and settings.

    ``in_process``: a command runs in the process of the tests, which spares the start of Python.
    What it starts itself, such as a service, has processes of its own in any case.
    """

    environment: Mapping[str, str]
    in_process: bool = False

    def __call__(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        if self.in_process:
            return run_here(self.environment, arguments, typed)
        return subprocess.run(
            [*COMMAND, *arguments],
            input=typed,
            capture_output=True,
            encoding="utf-8",
            env=self.environment,
            timeout=LONGEST,
        )

    def ok(self, *arguments: str, typed: str = "") -> str:
        """The standard output of a command that succeeds."""
        done = self(*arguments, typed=typed)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """The standard output of a program in this environment."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            encoding="utf-8",
            env=self.environment,
            timeout=LONGEST,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str, status: int = 1) -> str:
        """The standard error of a command that fails as it should: no traceback."""
        done = self(*arguments)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def having(self, **variables: str) -> Cli:
        return replace(self, environment={**self.environment, **variables})

    def as_processes(self) -> Cli:
        """Runs each command in a process of its own."""
        return replace(self, in_process=False)


def run_here(
    environment: Mapping[str, str], arguments: Sequence[str], typed: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command in this process. A defect of it is raised."""
    streams = [io.BytesIO(typed.encode()), io.BytesIO(), io.BytesIO()]
    texts = [io.TextIOWrapper(each, "utf-8", write_through=True) for each in streams]
    with patch.dict(os.environ, environment, clear=True), pytest.MonkeyPatch.context() as given:
        given.setattr(sys, "argv", ["cupola", *arguments])
        given.delattr(os, "execve")  # ``serve`` becomes the service: it needs a process
        given.setattr(sys.modules["__main__"], "__package__", None)  # typer names it otherwise
        for name, text in zip(("stdin", "stdout", "stderr"), texts, strict=True):
            given.setattr(sys, name, text)
        with pytest.raises(SystemExit) as end:
            main.main()
    said = [each.getvalue().decode() for each in streams[1:]]
    assert isinstance(end.value.code, int)
    return subprocess.CompletedProcess(arguments, end.value.code, *said)


def start_interruptible(
    arguments: Sequence[str], environment: Mapping[str, str], **options: Any
) -> subprocess.Popen[Any]:
    """A command that SIGINT interrupts, also when the tests run in the background.

    A shell starts background processes with SIGINT ignored, and children inherit that.
    """
    restore = None if os.name == "nt" else _restore_interrupts
    return subprocess.Popen([*COMMAND, *arguments], env=environment, preexec_fn=restore, **options)


def _restore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def bounded(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kills a process that outlives the block by far, so that reading from it ends."""
    watchdog = threading.Timer(LONGEST, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        watchdog.join()


def read_until(pieces: Iterator[str], wanted: str) -> str:
    """Read pieces of text until they hold ``wanted``; say what came if it never does."""
    seen = ""
    for piece in pieces:
        seen += piece
        if wanted in seen:
            return seen
    raise AssertionError(f"{wanted!r} never came: {seen!r}")
