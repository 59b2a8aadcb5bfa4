"""The socket between the supervisor and one child. It carries lines, and shows the other's death.

The supervisor holds one end and the child the other. The stream ends when the other process ends,
on every system and without polling. A line is short text such as ``stop`` or ``lost cpu:0/1``.
Neither side ever waits for the other to read.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time

from cupola.scheduler.protocol.commands import Commands
from cupola.scheduler.protocol.lines import READ_BYTES, LineBuffer, LineError, Outbox

ORPHANED = 3  # exit status of a child whose supervisor is gone
LAST_SECONDS = 2.0  # for what a child still has to do when its supervisor is gone
STUCK = 4  # of a child whose loop reads no commands


class Lifeline:
    """The child's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._when_orphaned = ""
        self._orphaned = False
        self._outbox = Outbox(end)
        self._lock = threading.Lock()  # of the outbox
        self._more, self._wake = socket.socketpair()  # wakes the thread: lines wait to be sent
        self._wake.setblocking(False)

    def watch(self, when_orphaned: str = "") -> Commands:
        """Start to watch. Returns the supervisor's commands.

        A thread watches, so that the child exits with its supervisor even while its main thread is
        inside a long native call. ``when_orphaned``: a command for the loop when the supervisor is
        gone, for which it gets LAST_SECONDS.
        """
        self._when_orphaned = when_orphaned
        commands = Commands(self.tell)
        threading.Thread(target=self._serve, args=(commands,), daemon=True, name="lifeline").start()
        return commands

    def leave_if_orphaned(self) -> None:
        """End the process, in the way that tells why, if the supervisor is gone."""
        if self._orphaned:
            os._exit(ORPHANED)

    def tell(self, line: str) -> None:
        """Send a line to the supervisor. It is no error if the supervisor is gone.

        Raises LineError if the line is too long, or if the supervisor does not read.
        """
        with self._lock:
            self._outbox.put(line)
            waits = self._outbox.waits
        if waits:
            with contextlib.suppress(BlockingIOError):  # the thread has been woken often enough
                self._wake.send(b"\n")

    def _serve(self, commands: Commands) -> None:
        lines = LineBuffer()
        with selectors.DefaultSelector() as selector:
            selector.register(self._more, selectors.EVENT_READ)
            selector.register(self._end, selectors.EVENT_READ)
            while True:
                for key, events in selector.select():
                    if key.fileobj is self._more:
                        self._more.recv(READ_BYTES)
                    elif events & selectors.EVENT_READ:
                        self._receive(lines, commands)
                with self._lock:
                    self._outbox.flush()
                    waits = self._outbox.waits
                writes = selectors.EVENT_WRITE if waits else 0
                selector.modify(self._end, selectors.EVENT_READ | writes)

    def _receive(self, lines: LineBuffer, commands: Commands) -> None:
        try:
            data = self._end.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._orphaned = True
            if self._when_orphaned:
                with contextlib.suppress(LineError):
                    commands.put(self._when_orphaned)
                    time.sleep(LAST_SECONDS)
            os._exit(ORPHANED)
        try:
            for line in lines.feed(data):
                commands.put(line)
        except LineError:
            os._exit(STUCK)
