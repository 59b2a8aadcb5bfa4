"""Errors in the form of the API that a request is for.

The path decides: ``ErrorFormats`` notes the format of a request's API in its scope before anything
can fail. Whoever refuses the request later, a route, a middleware or the router, has the error
encoded once, in that format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.gateway.http.errors import (
    ApiError,
    RequestFailed,
    from_failure,
    from_http,
    from_validation,
)

_FORMAT, _REQUEST_ID = "cupola.error_format", "cupola.request_id"  # keys of a scope


class ErrorFormat(Protocol):
    """How one API tells a client what went wrong. Pure."""

    request_id_headers: Sequence[str]  # that every answer of the API has

    @property
    def answer(self) -> type[msgspec.Struct]:
        """What ``encode`` encodes."""

    def status(self, status: int, code: str) -> int:
        """The HTTP status of an error that has ``status`` by default."""

    def encode(self, error: ApiError, request_id: str = "") -> bytes:
        """The body as JSON. ``request_id``: empty where the format is to leave it out."""


@dataclass(frozen=True, slots=True)
class FormatTable:
    """The format of each path. ``by_prefix``: of the paths that begin so."""

    default: ErrorFormat
    by_prefix: Mapping[str, ErrorFormat]

    def of(self, path: str) -> ErrorFormat:
        for prefix, found in self.by_prefix.items():
            if path.startswith(prefix):
                return found
        return self.default

    def all(self) -> tuple[ErrorFormat, ...]:
        return (self.default, *self.by_prefix.values())


class ErrorFormats:
    """The middleware that chooses, before anything can fail."""

    def __init__(self, app: ASGIApp, table: FormatTable) -> None:
        self._app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[_FORMAT] = self._table.of(scope["path"])
        await self._app(scope, receive, send)


def note_request_id(scope: Scope, request_id: str) -> Sequence[str]:
    """Keep the id for errors. Returns the headers in which the API sends it."""
    scope[_REQUEST_ID] = request_id
    return cast(ErrorFormat, scope[_FORMAT]).request_id_headers


def error_response(error: ApiError, scope: Scope) -> Response:
    """The whole answer to the request of ``scope``."""
    form = cast(ErrorFormat, scope[_FORMAT])
    return Response(
        form.encode(error, scope.get(_REQUEST_ID, "")),
        form.status(error.status, error.code),
        error.headers,
        media_type="application/json",
    )


async def _handle(request: Request, error: Exception) -> Response:
    match error:
        case ApiError():
            return error_response(error, request.scope)
        case RequestFailed():
            return error_response(from_failure(error), request.scope)
        case ValidationError():
            return error_response(from_validation(error), request.scope)
        case HTTPException():
            path = request.scope["raw_path"].decode("latin-1")
            return error_response(from_http(error, request.method, path), request.scope)
        case _:
            raise error


HANDLERS: Mapping[Any, Any] = dict.fromkeys(
    (ApiError, RequestFailed, ValidationError, HTTPException), _handle
)
