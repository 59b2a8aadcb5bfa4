"""Answers whoever connects while the service stops: 503, in the form of the API that is asked.

hypercorn closes its listeners when it stops, and clients would see a connection that is refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from cupola.gateway.apis import ERROR_FORMATS
from cupola.gateway.http.errors import RequestFailed, from_failure
from cupola.gateway.http.paths import known_as
from cupola.scheduler.protocol.messages import ErrorCode

STOPPING = "the service is stopping and takes no new requests; try again when it is back"
_HEAD_SECONDS = 1.0  # for a client to send the head of its request, and then to read the answer
_READ_BYTES = 64 * 1024


@asynccontextmanager
async def refusing(
    listeners: Sequence[socket.socket], tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Refuse all that comes to ``listeners`` within the block, then close them.

    ``tls``: for those that are not Unix sockets.
    """
    servers = [
        await asyncio.start_server(_refuse, sock=each, ssl=None if is_unix(each) else tls)
        for each in listeners
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()


def is_unix(listener: socket.socket) -> bool:
    return hasattr(socket, "AF_UNIX") and listener.family is socket.AF_UNIX


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    errors = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
    try:
        with suppress(*errors):
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer_to(head))
                await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()
                # A connection that is closed with bytes unread can lose the answer.
                while await reader.read(_READ_BYTES):
                    pass
    finally:
        writer.close()


def answer_to(head: bytes) -> bytes:
    """The whole answer to the request with this head. Pure."""
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    error = from_failure(RequestFailed(ErrorCode.SHUTTING_DOWN, STOPPING))
    form = ERROR_FORMATS.of(known_as(path))
    body = form.encode(error)
    status = form.status(error.status, error.code)
    headers = {
        **error.headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {status} Service Unavailable", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == b"HEAD" else body)
