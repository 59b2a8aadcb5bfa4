"""Connections that cost little: a request is bytes, an answer is looked at only for its end."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

_END_OF_HEAD = b"\r\n\r\n"
_END_OF_CHUNKS = b"0\r\n\r\n"
_EVENT = b"data: "


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    events: int  # of a stream
    ended: float  # of the monotonic clock


def post(body: dict[str, object], path: str = "/v1/chat/completions") -> bytes:
    """The bytes of a request."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Connection(asyncio.Protocol):
    """One kept connection. It asks one thing at a time."""

    def __init__(self) -> None:
        self._lost = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiter: asyncio.Future[Answer] | None = None
        self._began: asyncio.Future[None] | None = None

    @classmethod
    async def to(cls, port: int) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    async def ask(self, request: bytes) -> Answer:
        """Raises ConnectionError."""
        await self.begin(request)
        assert self._waiter is not None
        return await self._waiter

    async def begin(self, request: bytes) -> None:
        """Send, and do not wait."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._received.clear()
        self._waiter, self._began = loop.create_future(), loop.create_future()
        self._transport.write(request)

    async def begun(self) -> None:
        """Wait until something of the answer is here."""
        assert self._began is not None
        await self._began

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._began is not None and not self._began.done():
            self._began.set_result(None)
        if self._waiter is not None and not self._waiter.done() and self._is_whole():
            status = int(self._received[9:12])
            events = self._received.count(_EVENT)
            self._waiter.set_result(Answer(status, events, time.monotonic()))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set_result(None)
        for future in (self._waiter, self._began):
            if future is not None and not future.done():
                future.set_exception(error or ConnectionResetError("closed in an answer"))
                future.exception()  # nobody need wait for it

    def _is_whole(self) -> bool:
        head, end, body = self._received.partition(_END_OF_HEAD)
        if not end:
            return False
        at = head.lower().find(b"content-length:")
        if at < 0:
            return self._received.endswith(_END_OF_CHUNKS)
        return len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])
