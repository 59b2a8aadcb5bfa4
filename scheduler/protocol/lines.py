"""Lines of text on a socket between two processes. Nothing here blocks, and all of it is bounded.

Two processes that wait for each other to read would wait for ever. So what a socket does not take
at once waits in memory, up to a bound.
"""

from __future__ import annotations

import socket

MAX_LINE_BYTES = 16 * 1024
MAX_WAITING_BYTES = 32 * 1024 * 1024  # more than a thousand of the longest lines
READ_BYTES = 64 * 1024


class LineError(ValueError):
    """A line is too long, or too much waits to be read: the other process is broken or stuck."""


class LineBuffer:
    """Splits a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes. Raises LineError for one that is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, [*lines, self._rest])) > MAX_LINE_BYTES:
            self._rest = b""
            raise LineError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        return [line.decode(errors="replace") for line in lines]


class Outbox:
    """Sends lines on a socket that does not block. What the socket does not take waits here."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._waiting = bytearray()

    @property
    def waits(self) -> bool:
        """Whether something is left to send."""
        return bool(self._waiting)

    def put(self, line: str) -> None:
        """Send a line, now or with a later ``flush``. Raises LineError."""
        data = line.encode()
        if len(data) > MAX_LINE_BYTES:
            raise LineError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        if len(self._waiting) + len(data) > MAX_WAITING_BYTES:
            raise LineError(f"{len(self._waiting)} bytes wait and are not read")
        self._waiting += data + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes. It is no error if the other process is gone."""
        try:
            while self._waiting:
                del self._waiting[: self._end.send(self._waiting)]
        except BlockingIOError:
            return
        except OSError:  # whoever reads from the socket sees that it is closed
            self._waiting.clear()
