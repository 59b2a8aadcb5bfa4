"""The supervisor's lines to a child process, for its loop, and the loop's sign of life."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable

from cupola.scheduler.protocol.lines import MAX_WAITING_BYTES, LineError

ALIVE = "alive"  # the loop turns
# The same, but the loop's next turn may be long: a model is loaded, or reads a prompt in one piece.
LONG_TURN = "long turn"
LOG_LEVEL = "log-level"  # and a level: how much the process is to log from now on
STOP_AT_ONCE = "stop at once"  # without waiting for what runs
STARTED = "started"  # the process serves now
NOT_LOADED = "not loaded"  # and a model's id: its load at the start failed
BEAT_SECONDS = 1.0  # between two of them


class Commands:
    """What a thread has received, for a loop that waits for ``fileno``. Reading never blocks."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """``tell`` sends a line to the supervisor."""
        self._tell = tell
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._unread = 0  # bytes
        self._lock = threading.Lock()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._state = ""
        self._next_beat = 0.0

    def fileno(self) -> int:
        return self._wake.fileno()

    def close(self) -> None:
        """Nothing is put or read any more."""
        self._wake.close()
        self._waker.close()

    def put(self, line: str) -> None:
        """Hand a line to the loop, from another thread. Raises LineError if it reads none."""
        with self._lock:
            self._unread += len(line)
            if self._unread > MAX_WAITING_BYTES:
                raise LineError("the loop does not read its commands")
        self._lines.put(line)
        with contextlib.suppress(BlockingIOError):  # it has been woken often enough
            self._waker.send(b"\n")

    def read(self) -> list[str]:
        """The lines that have come since the last call, but for those about the log."""
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get())
        with self._lock:
            self._unread -= sum(map(len, lines))
        return [line for line in lines if not set_log_level(line)]

    def started(self, not_loaded: Iterable[str] = ()) -> None:
        """Tell the supervisor that the process serves now, and without which models."""
        for model_id in not_loaded:
            self.tell(f"{NOT_LOADED} {model_id}")
        self.tell(STARTED)

    def tell(self, line: str) -> None:
        """Send the supervisor a line. If it reads none, it hangs, and nothing helps."""
        with contextlib.suppress(LineError):
            self._tell(line)

    def beat(self, state: str = ALIVE) -> None:
        """Tell the supervisor that the loop turns; at most every BEAT_SECONDS if nothing is new.

        Only the loop itself may call this: a side thread lives on while the loop hangs.
        """
        now = time.monotonic()
        if state == self._state and now < self._next_beat:
            return
        self._state, self._next_beat = state, now + BEAT_SECONDS
        try:
            self._tell(state)
        except LineError:
            return  # it is the supervisor that hangs; it will not miss the line


def set_log_level(line: str) -> bool:
    """Whether the line was about the log. Then this process logs as it says."""
    verb, _, level = line.partition(" ")
    if verb != LOG_LEVEL:
        return False
    with contextlib.suppress(ValueError):  # a level that does not exist
        logging.getLogger().setLevel(level.upper())
    return True
