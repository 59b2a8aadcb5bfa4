"""The commands of the supervisor to a child process: lines that a poll loop can wait for."""

from __future__ import annotations

import socket


class LineBuffer:
    """Splits a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]


class Commands:
    """The child's end of the socket. Reading never blocks."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._buffer = LineBuffer()

    def fileno(self) -> int:
        return self._end.fileno()

    def read(self) -> list[str]:
        """The lines that have come since the last call."""
        try:
            return self._buffer.feed(self._end.recv(4096))
        except BlockingIOError:
            return []
