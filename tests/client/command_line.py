"""Runs the command line as a user would: each command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

COMMAND = [sys.executable, "-W", "error", "-m", "cupola.client.commands.main"]
LONGEST = 60.0  # seconds for any command: so that a test that waits in vain ends


@dataclass(frozen=True)
class Cli:
    """Runs commands in an environment: a data folder, and settings."""

    environment: Mapping[str, str]

    def __call__(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
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
        return Cli({**self.environment, **variables})


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
