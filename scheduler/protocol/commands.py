"""What the supervisor says to a child process, as lines that a poll loop can wait for."""

from __future__ import annotations

import socket


class LineBuffer:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]


class Commands:
    """The readable end of a socket that carries lines, never blocking."""

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
