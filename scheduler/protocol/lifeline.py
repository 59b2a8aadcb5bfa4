"""The socket between the supervisor and one child: commands down, news up, and death seen at once.

The supervisor holds one end and the child the other, so the end of the stream is the other's death,
on every system and without polling. Lines are short text such as ``stop`` or ``lost cpu:0/1``.
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
        """Start watching; the socket returned yields what the supervisor sends, as it comes.

        A thread does the watching, so that the child exits with its supervisor even while its main
        thread is inside a long native call.
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
        """Send a line to the supervisor. A supervisor that is gone is not an error here."""
        try:
            self._end.sendall(line.encode() + b"\n")
        except OSError:
            return
