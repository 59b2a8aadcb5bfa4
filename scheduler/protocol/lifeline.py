"""The socket between the supervisor and one child. It carries lines, and shows the other's death.

The supervisor holds one end and the child the other. The stream ends when the other process ends,
on every system and without polling. A line is short text such as ``stop`` or ``lost cpu:0/1``.
"""

from __future__ import annotations

import os
import socket
import threading

ORPHANED = 3  # exit status of a child whose supervisor is gone


class Lifeline:
    """The child's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def watch(self) -> socket.socket:
        """Start to watch. Returns a socket from which the supervisor's lines can be read.

        A thread watches, so that the child exits with its supervisor even while its main thread is
        inside a long native call.
        """
        inner, outer = socket.socketpair()
        threading.Thread(target=self._forward, args=(inner,), daemon=True, name="lifeline").start()
        return outer

    def _forward(self, inner: socket.socket) -> None:
        while True:
            try:
                data = self._end.recv(4096)
            except OSError:
                data = b""
            if not data:
                os._exit(ORPHANED)
            inner.sendall(data)

    def tell(self, line: str) -> None:
        """Send a line to the supervisor. It is no error if the supervisor is gone."""
        try:
            self._end.sendall(line.encode() + b"\n")
        except OSError:
            return
