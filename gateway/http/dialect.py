"""Errors in the words of the API that was asked.

Everything here fails with OpenAI's error object. For the paths of another API this outermost
middleware tells it again, whoever refused: a route, the body limit, the router, nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Failure(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: str
    code: str | None = None
    param: str | None = None


class Dialect(Protocol):
    """How one API tells what went wrong. Pure."""

    prefix: str  # of the paths it is for
    answer: type[Any]  # what ``body`` makes

    def status(self, status: int, failure: Failure) -> int:
        """The HTTP status of an answer that would have had ``status``."""

    def body(self, status: int, failure: Failure, request_id: str) -> bytes:
        """The answer's JSON. ``status``: that of everywhere else."""

    def headers(self, headers: MutableHeaders) -> None:
        """Add what every answer of this API has."""


class _Refusal(msgspec.Struct, frozen=True):
    error: Failure


class Dialects:
    """The middleware. An answer without OpenAI's error in its first piece passes as it is."""

    def __init__(self, app: ASGIApp, dialects: Sequence[Dialect]) -> None:
        self._app = app
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for dialect in self._dialects:
                if scope["path"].startswith(dialect.prefix):
                    send = _Retold(dialect, send)
                    break
        await self._app(scope, receive, send)


class _Retold:
    """Holds the start of a failed answer until its body is known."""

    def __init__(self, dialect: Dialect, send: Send) -> None:
        self._dialect = dialect
        self._send = send
        self._held: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._dialect.headers(MutableHeaders(scope=message))
            if message["status"] >= 400:
                self._held = message
                return
        elif self._held is not None:
            start, self._held = self._held, None
            message = self._retell(start, message)
            await self._send(start)
        await self._send(message)

    def _retell(self, start: Message, piece: Message) -> Message:
        try:
            failure = msgspec.json.decode(piece.get("body", b""), type=_Refusal).error
        except msgspec.DecodeError:
            return piece
        headers, status = Headers(scope=start), start["status"]
        body = self._dialect.body(status, failure, headers.get("x-request-id", ""))
        start["status"] = self._dialect.status(status, failure)
        if "content-length" in headers:
            MutableHeaders(scope=start)["content-length"] = str(len(body))
        return {**piece, "body": body}
