"""The gateway's end of the scheduler's socket, for asyncio. No other file here knows ZeroMQ.

It moves frames, and knows nothing of what they answer.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import zmq

from cupola.scheduler.protocol.endpoint import Endpoint
from cupola.scheduler.protocol.messages import FromGateway, encode

logger = logging.getLogger(__name__)

_NOBLOCK = int(zmq.NOBLOCK)
FRAMES_AT_ONCE = 64  # how many are handled before other tasks of the loop get their turn


class SchedulerSocket:
    """Frames in and out. ``take`` is called with each frame that comes, in their order."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        """It belongs to the asyncio loop that runs now."""
        self.take: Callable[[bytes], None] = lambda frame: None
        self._socket = socket
        self._frames = zmq.Poller()
        self._frames.register(socket, zmq.POLLIN)
        self._loop = asyncio.get_running_loop()
        self._reading_soon: asyncio.Handle | None = None
        self._outgoing: list[bytes] = []  # frames of this turn of the loop
        self._failed: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    @contextmanager
    def connected(cls, endpoint: Endpoint) -> Iterator[SchedulerSocket]:
        """A socket with an identity of its own, as long as the block runs."""
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.identity = f"gateway-{uuid.uuid4().hex}".encode()
            endpoint.join(socket)
            yield cls(socket)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have frames read as they come. zmq.asyncio would make a future for each of them."""
        descriptor = self._socket.fileno()
        self._loop.add_reader(descriptor, self._read)
        try:
            yield
        finally:
            self._flush()
            self._loop.remove_reader(descriptor)
            if self._reading_soon is not None:
                self._reading_soon.cancel()

    async def failed(self) -> None:
        """Raise what a read has raised: nobody waits for the loop's callbacks."""
        await self._failed

    def drain(self) -> None:
        """Handle what has come. To ask for it costs a third of a receive that finds nothing."""
        for _ in range(FRAMES_AT_ONCE):
            if not self._frames.poll(0):
                return
            self.take(self._socket.recv(_NOBLOCK))
        self._read_the_rest_soon()

    def send(self, messages: Iterable[FromGateway]) -> None:
        """Send them at the end of this turn of the loop."""
        if self._socket.closed:
            return  # the process is ending, and the scheduler will notice
        for message in messages:
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(encode(message))

    def _read(self) -> None:
        try:
            self.drain()
        except Exception as error:
            if not self._failed.done():
                self._failed.set_exception(error)

    def _read_the_rest_soon(self) -> None:
        """The descriptor tells only of what comes: neither of the rest, nor what a send met."""
        if self._reading_soon is None and self._frames.poll(0):
            self._reading_soon = self._loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        self._reading_soon = None
        self._read()

    def _flush(self) -> None:
        """Send what this turn of the loop has left: each send alone would wake ZeroMQ's thread."""
        outgoing, self._outgoing = self._outgoing, []
        if not outgoing or self._socket.closed:
            return
        for frame in outgoing:
            try:
                self._socket.send(frame, _NOBLOCK)
            except zmq.ZMQError as error:
                logger.warning("could not send a frame to the scheduler: %s", error)
        self._read_the_rest_soon()
