"""Which web pages may read the answers, and what their browsers must be told (Fetch standard).

An Origin is allowed when it is the service's own, when it and the service are both on this machine,
or when the ``cors_origins`` setting names it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = "GET, POST, DELETE, OPTIONS"
READABLE = "x-request-id, x-client-request-id, retry-after"
REMEMBER_SECONDS = "600"


@dataclass(frozen=True, slots=True)
class Origins:
    """``named``: origins or patterns, such as ``null``, ``https://*.example.org`` or ``*``."""

    local: bool  # the service is bound to a loopback address
    named: Collection[str] = ()

    def allows(self, origin: str, host: str) -> bool:
        """Whether a page of ``origin`` may use the service that it calls ``host``."""
        if any(fnmatchcase(origin, pattern) for pattern in self.named):
            return True
        try:
            asking = urlsplit(origin)
            name = asking.hostname or ""
        except ValueError:
            return False
        if asking.netloc and asking.netloc == host:
            return True
        return self.local and is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, is this machine's own."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


class Cors:
    """Answers preflight requests, and marks every answer to a page that may read it."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin is None or not self._origins.allows(origin, headers.get("host", "")):
            return await self._app(scope, receive, send)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return await _preflight(origin, headers)(scope, receive, send)

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["access-control-allow-origin"] = origin
                answer["access-control-expose-headers"] = READABLE
                answer.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, send_readable)


def _preflight(origin: str, headers: Headers) -> Response:
    told = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": headers.get("access-control-request-headers", "*"),
        "access-control-max-age": REMEMBER_SECONDS,
        "vary": "Origin",
    }
    if headers.get("access-control-request-private-network") == "true":
        told["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=told)
