"""One client's connection: hypercorn's, with an end in time and limits.

hypercorn keeps a connection whose client has gone until the keep-alive timeout, and its descriptor
with it. It also waits without limit for the rest of a request, and for a client that does not read.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"retry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


_RESERVED = 256  # file descriptors for files, ZeroMQ and connections to other servers
_REFUSED_TOGETHER = 64  # connections that hold a descriptor until they have been told
_REFUSAL_SECONDS = 1.0  # for a client to send its request, and then to read the answer


@dataclass
class ConnectionLimits:
    """What the connections of a gateway may take together, and each of them."""

    most: int = 4096  # open at once; more are answered with 503
    request_seconds: float = 60.0  # from a request's first byte to the last of its body
    write_seconds: float = 60.0  # for a client to read what waits for it
    open: int = 0  # now
    refused: int = 0  # now: open beside these until they have been told

    @classmethod
    def of_this_process(cls) -> ConnectionLimits:
        """As many connections as there are file descriptors. Raises the process's soft limit."""
        if sys.platform == "win32":
            return cls()
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = cls.most + _RESERVED
        if soft < wanted:
            soft = min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        left = max(soft - _RESERVED, soft // 2)  # half of few
        return cls(most=max(1, min(cls.most, left)))


class Connection(TCPServer):
    def __init__(self, limits: ConnectionLimits, *hypercorns: Any) -> None:
        super().__init__(*hypercorns)
        self._limits = limits
        self._reading: asyncio.Timeout | None = None  # of the bytes that are waited for
        self._request_ends = 0.0  # when the request that is being read must be here
        self._idle_since: float | None = self.loop.time()  # None: there is a request

    async def run(self) -> None:
        full = self._limits.open >= self._limits.most
        # The client has gone, or the server ends: nobody else cancels this task. Python 3.11 would
        # log a cancelled one as a fault (cpython#113538).
        with suppress(asyncio.CancelledError):
            await (self._refuse() if full else self._serve())

    async def _serve(self) -> None:
        self._limits.open += 1
        try:
            await super().run()
        finally:
            self._limits.open -= 1

    async def _refuse(self) -> None:
        """Answer 503. A connection that is closed with bytes unread can lose the answer."""
        limits = self._limits
        limits.refused += 1
        try:
            if limits.refused <= _REFUSED_TOGETHER:
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(_REFUSAL_SECONDS):
                        self.writer.write(_TOO_MANY)
                        if self.writer.can_write_eof():
                            self.writer.write_eof()
                        while await self.reader.read(MAX_RECV):
                            pass
        finally:
            limits.refused -= 1
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self._idle_since = self.loop.time() if event.idle else None
            if self._reading is not None and not self._reading.expired():
                self._reading.reschedule(self._deadline())
            return None
        if not isinstance(event, RawData):
            return await super().protocol_send(event)
        try:
            self.writer.write(event.data)
            if self.writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self._limits.write_seconds):
                    await self.writer.drain()
            else:
                await self.writer.drain()  # returns at once, or tells that the client has gone
            return None
        except asyncio.CancelledError:
            self.writer.transport.abort()  # else what the end still sends would wait for the client
            raise
        except TimeoutError:
            self.writer.transport.abort()
        except (ConnectionError, RuntimeError):
            pass
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        """Close the connection. Drops what the client does not read in time.

        A cancelled connection, as at the end of the server, drops it at once.
        """
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            self.writer.transport.abort()
        async with asyncio.timeout(self._limits.write_seconds):
            await super()._close()  # returns when it is cancelled
        self.writer.transport.abort()  # nothing is left of it where the client has read all

    async def _read_data(self) -> None:
        try:
            while not self.reader.at_eof():
                await self.protocol.handle(RawData(await self._read_in_time()))
        except (OSError, TimeoutError):
            pass
        await self.protocol.handle(Closed())
        # An idle connection waits for its keep-alive timeout in a task, which holds the descriptor.
        await self.idle_task.stop()

    async def _read_in_time(self) -> bytes:
        """Raises TimeoutError. A request that waits for an answer's end can begin meanwhile."""
        deadline = self._deadline()
        if deadline is None and not self._has_unread():
            return await self.reader.read(MAX_RECV)
        try:
            async with asyncio.timeout_at(deadline) as self._reading:
                return await self.reader.read(MAX_RECV)
        finally:
            self._reading = None

    def _has_unread(self) -> bool:
        """Whether bytes have come that belong to no request yet."""
        protocol = self.protocol.protocol
        return isinstance(protocol, H11Protocol) and bool(protocol.connection.trailing_data[0])

    async def _idle_timeout(self) -> None:
        """End the connection when it has been idle for too long, or is idle when the service stops.

        One task for a connection's whole life. hypercorn would make two for each request.
        """
        allowed = self.config.keep_alive_timeout
        while True:
            idle_since = self._idle_since
            left = allowed if idle_since is None else idle_since + allowed - self.loop.time()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self.context.terminated.wait()
            except TimeoutError:
                continue
            if self._idle_since is None:
                return  # the end of its answer ends it
            break
        await asyncio.shield(self._initiate_server_close())

    def _deadline(self) -> float | None:
        """Until when the next bytes must come, in the loop's time. None: no request is begun."""
        protocol = self.protocol.protocol
        if not isinstance(protocol, H11Protocol):
            return None
        their_state = protocol.connection.their_state
        begun = their_state is h11.SEND_BODY or (their_state is h11.IDLE and self._has_unread())
        if not begun:
            self._request_ends = 0.0
            return None
        if not self._request_ends:
            self._request_ends = self.loop.time() + self._limits.request_seconds
        return self._request_ends
