"""The middleware that reads bodies: decoded, within their limits, and in one piece.

The whole body is read before anything is answered, so that an answer is never sent into a
connection still full of it.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cupola.gateway.http.content_coding import (
    CorruptBody,
    Decoder,
    UnsupportedCoding,
    decoded,
    decoders,
)
from cupola.gateway.http.error_formats import error_response
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.headers import headers_of
from cupola.gateway.http.json_size import JsonSize
from cupola.gateway.http.multipart import is_multipart

_AUDIO = "/v1/audio/"  # paths of endpoints that take files


class BodyReader:
    """Hands the body over as one message.

    ``limit``: bytes, both as sent and decoded. ``audio_limit``: of forms with sound, which are no
    JSON.
    """

    def __init__(self, app: ASGIApp, limit: int, audio_limit: int = 0) -> None:
        self._app = app
        self._json_limit = limit
        self._audio_limit = max(limit, audio_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = headers_of(scope)
        has_sound = scope["path"].startswith(_AUDIO) and is_multipart(
            headers.get("content-type", "")
        )
        limit = self._audio_limit if has_sound else self._json_limit
        coding = ",".join(headers.getlist("content-encoding"))
        try:
            if int(headers.get("content-length", 0)) > limit:
                raise too_long(limit)
            body = _Body(decoders(coding), limit, None if has_sound else JsonSize())
        except (ApiError, UnsupportedCoding) as error:
            return await refuse(_as_answer(error), limit, scope, receive, send)
        sent = 0
        more = True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                piece, more = message.get("body", b""), message.get("more_body", False)
                sent += len(piece)
                if sent > limit:
                    raise too_long(limit)
                await body.feed(piece)
            content = body.end()
        except (ApiError, CorruptBody) as error:
            return await refuse(_as_answer(error), limit, scope, receive, send, more)
        if coding:
            scope = dict(scope, headers=list(scope["headers"]))
            decoded_headers = MutableHeaders(scope=scope)
            del decoded_headers["content-encoding"]
            decoded_headers["content-length"] = str(len(content))
        read: Message | None = {"type": "http.request", "body": content}

        async def receive_again() -> Message:
            nonlocal read
            if read is None:
                return await receive()
            message, read = read, None
            return message

        await self._app(scope, receive_again, send)


async def refuse(
    error: ApiError, limit: int, scope: Scope, receive: Receive, send: Send, more: bool = True
) -> None:
    """Answer with ``error`` and end the connection. ``more``: of the body may be to come.

    ``limit``: the longest body that is allowed; four times as much is read and thrown away.
    """
    error.headers["connection"] = "close"
    refusal = error_response(error, scope)
    await send({
        "type": "http.response.start",
        "status": refusal.status_code,
        "headers": refusal.raw_headers,
    })  # fmt: skip
    await send({"type": "http.response.body", "body": refusal.body, "more_body": more})
    if not more:
        return
    # Most clients read the answer only when all is sent: let it come, within reason. The rest
    # must be read as well, or it blocks the server's own end of the connection.
    left = 4 * limit
    while more and left > 0:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        left -= len(message.get("body", b""))
        more = message.get("more_body", False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_discard(receive))
        await send({"type": "http.response.body"})


class _Body:
    """What has come of a body, decoded and counted."""

    def __init__(self, chain: Sequence[Decoder], limit: int, size: JsonSize | None) -> None:
        """``size``: counts what the body holds; None: it is no JSON."""
        self._chain = chain
        self._limit = limit
        self._pieces: list[bytes] = []
        self._length = 0
        self._size = size

    async def feed(self, data: bytes) -> None:
        """Raises ApiError, CorruptBody."""
        for piece in decoded(self._chain, data):
            self._length += len(piece)
            if self._length > self._limit:
                raise too_long(self._limit)
            self._pieces.append(piece)
            if self._size is not None:
                self._size.feed(piece)
                if excess := self._size.excess:
                    text = f"The body has {excess}, and that is the most that is read"
                    raise ApiError(413, "request_too_large", text)
            if self._chain:
                await asyncio.sleep(0)  # a little of a body can decode to much

    def end(self) -> bytes:
        """The body. Raises CorruptBody."""
        for decoder in self._chain:
            decoder.end()
        return b"".join(self._pieces).removeprefix(codecs.BOM_UTF8)


def too_long(limit: int) -> ApiError:
    text = f"The body is longer than the {limit} bytes that are allowed"
    return ApiError(413, "request_too_large", text)


def _as_answer(error: ApiError | UnsupportedCoding | CorruptBody) -> ApiError:
    match error:
        case UnsupportedCoding():
            return ApiError(415, "unsupported_encoding", str(error), param="content-encoding")
        case CorruptBody():
            text = f"The body is not what its Content-Encoding says: {error}"
            return ApiError(400, "invalid_encoding", text, param="content-encoding")
    return error


async def _discard(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
