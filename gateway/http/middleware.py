"""Middleware that serves every API: the log, limits, and who may ask. Pure ASGI.

``app`` lists all middleware in its order.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from secrets import token_hex

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cupola.cache.system.line_rate import LineRate
from cupola.cache.system.local_url import is_local, is_loopback
from cupola.gateway.http.cors import Origins
from cupola.gateway.http.disconnect import CLIENT_CLOSED_REQUEST
from cupola.gateway.http.error_formats import error_response, note_request_id
from cupola.gateway.http.errors import ApiError, cut_off, internal_error
from cupola.gateway.http.headers import headers_of
from cupola.gateway.http.served import Finished, begin_serving

access = logging.getLogger("cupola.gateway.access")
logger = logging.getLogger(__name__)

# Nothing may frame an answer, nor guess what kind it is.
PROTECTING = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
# Attributes of a log record: what gives the fields of a structured log, and what the log adds.
FIELDS, NOTE = "fields", "log_note"
KEPT = ("x-client-request-id", "traceparent")  # a client's own ids, sent back as they came
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,512}")


class RequestLog:
    """Logs method, path (no query, no body, no header), status, time and tokens of every request.

    It gives every response an id. It answers with 500 where an exception reaches it, and with 503
    where the end of the service does, as while the body is still coming.
    """

    def __init__(self, app: ASGIApp, tell: Sequence[Callable[[Finished], None]]) -> None:
        """``tell``: who is told of each answer."""
        self._app = app
        self._tell = tell
        self._lines = LineRate(time.perf_counter())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        request_id = f"req_{token_hex(16)}"
        names = note_request_id(scope, request_id)
        own = [*PROTECTING, *((name.encode(), request_id.encode()) for name in names)]
        headers = headers_of(scope)
        for name in KEPT:
            if _CLIENT_ID.fullmatch(value := headers.get(name, "")):
                own.append((name.encode(), value.encode()))
        served = begin_serving(began)
        status, whole = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *own]
                await send(message)
            else:
                await send(message)
                whole = not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if not status:
                await error_response(cut_off(), scope)(scope, receive, send_with_id)
            raise
        except Exception:
            logger.exception("request %s failed", request_id)
            if not status:
                response = error_response(internal_error(request_id), scope)
                await response(scope, receive, send_with_id)
        finally:
            ended = time.perf_counter()
            shown = status or CLIENT_CLOSED_REQUEST
            parent = headers.get("traceparent", "")
            over = Finished(
                request_id, scope["method"], scope["path"], shown, served, ended, parent, whole
            )
            for tell in self._tell:
                tell(over)
            # The log would leave out the rest in any case, but it takes a record to know that.
            if access.isEnabledFor(logging.INFO) and self._lines.takes(ended):
                line = LogLine(over, scope["raw_path"])
                about = {FIELDS: line.fields, NOTE: self._lines.left_out()}
                access.info("%s", line, extra=about)


class LogLine:
    """What the log has of a request. A busy service writes few of the lines that it could.

    ``raw_path``: as the client wrote it.
    """

    __slots__ = ("_over", "_raw_path")

    def __init__(self, over: Finished, raw_path: bytes) -> None:
        self._over = over
        self._raw_path = raw_path

    @property
    def _path(self) -> str:
        return self._raw_path.decode("latin-1")

    @property
    def _milliseconds(self) -> float:
        return (self._over.ended - self._over.served.began) * 1000

    def _known(self) -> dict[str, str | int]:
        return {"id": self._over.id, **dict(self._over.served.fields())}

    def __str__(self) -> str:
        over = self._over
        known = "".join(f" {name}={value}" for name, value in self._known().items())
        return f"{over.method} {self._path} {over.status} {self._milliseconds:.0f} ms{known}"

    def fields(self) -> dict[str, object]:
        """For a structured log."""
        return {
            "method": self._over.method,
            "path": self._path,
            "status": self._over.status,
            "duration_ms": round(self._milliseconds, 1),
            **self._known(),
        }


_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")


PROBED = "/health"  # by load balancers, some of which speak HTTP/1.0


class TrustedHost:
    """Checks the Host header, against pages that have their own name resolve to this service.

    ``bound``: the host that the service listens on. ``named``: further names, or patterns.
    """

    def __init__(self, app: ASGIApp, bound: str, named: Collection[str] = ()) -> None:
        self._app = app
        self._local = is_loopback(bound)
        self._named = tuple(name.casefold() for name in (bound, *named))
        if not self._local:
            self._named += tuple({socket.gethostname().casefold(), socket.getfqdn().casefold()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            return await error_response(refusal, scope)(scope, receive, send)
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        host = headers_of(scope).get("host")
        if host is None and scope["http_version"] == "1.0" and scope["path"] == PROBED:
            return None
        match = _HOST.fullmatch(host or "")
        if match is None:
            return ApiError(400, "invalid_host", "The Host header is missing or malformed")
        if self._knows(match[1].casefold()):
            return None
        message = (
            "This service does not answer to the name in the Host header; "
            "its 'hosts' setting can allow it"
        )
        return ApiError(403, "forbidden_host", message, param="host")

    def _knows(self, host: str) -> bool:
        if is_local(host) or any(fnmatchcase(host.rstrip("."), name) for name in self._named):
            return True
        return not self._local and _is_address(host)  # a name can be rebound, an address cannot


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class SameOrigin:
    """Refuses what a browser sends on behalf of another site's page."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_foreign(headers_of(scope)):
            message = (
                "Web pages of other sites may not use this service; "
                "its 'cors_origins' setting can allow them"
            )
            refusal = ApiError(403, "forbidden_origin", message)
            return await error_response(refusal, scope)(scope, receive, send)
        await self._app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None:
            # Images and scripts carry no Origin, and a GET can load a model.
            cross_site = headers.get("sec-fetch-site") == "cross-site"
            return cross_site and headers.get("sec-fetch-mode") != "navigate"
        return not self._origins.allows(origin, headers.get("host", ""))
