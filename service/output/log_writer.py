"""Writes the log on a thread of its own, so that no loop waits for who reads it.

A pipe that nobody reads, or a terminal that Ctrl+S has stopped, would else stop every process that
has something to say, and the supervisor would kill them all for it.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue

MOST_WAITING = 1000  # lines; what comes then is lost, and counted
FLUSH_SECONDS = 1.0  # for what waits, when the process ends


def never_wait_for_readers() -> None:
    """Let no write to standard output and error wait, in this process and in its children.

    This is for what libraries write. The streams are opened again: who else has them does not get
    our flag. What is neither a pipe nor a terminal, or cannot be opened again, stays as it is.
    """
    if sys.platform != "linux":
        return
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
                own = os.open(f"/proc/self/fd/{descriptor}", flags)
                os.dup2(own, descriptor, inheritable=True)
                os.close(own)


class LogWriter(logging.Handler):
    """Formats records at once, and writes them later to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        # This queue can be put to from anywhere, also from a finalizer that interrupts a put.
        self._waiting: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._lost = 0  # lines, since the last that was not
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            self._lost += 1
            return
        self._tell_lost()
        try:
            self._waiting.put(self.format(record) + "\n")
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, but not for ever."""
        self._tell_lost()
        written = threading.Event()
        self._waiting.put(written)
        written.wait(FLUSH_SECONDS)

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            self._waiting.put(f"    {lost} lines were lost here; nobody read the log\n")

    def _write_all(self) -> None:
        while True:
            match self._waiting.get():
                case str(text):
                    self._write(text)
                case threading.Event() as written:
                    written.set()

    def _write(self, text: str) -> None:
        """An error, such as a full disk, must not cost more than the line."""
        left = memoryview(text.encode("utf-8", "replace"))
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                with suppress(OSError):
                    select.select([], [self._descriptor], [])
            except OSError:
                return
