"""Which web pages may read the answers, and the headers that tell their browsers so (Fetch).

An Origin is allowed when it is the service's own, when it and the service are both on this machine,
or when the ``cors_origins`` setting names it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.cache.system.local_url import is_local
from cupola.gateway.http.headers import headers_of

METHODS = ("GET", "POST", "DELETE", "OPTIONS")
READABLE = ("x-request-id", "x-client-request-id", "retry-after", "x-cupola-max-tokens")
REMEMBER_SECONDS = 600  # that browsers keep the answer to a preflight request


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
        return self.local and is_local(name)


class Cors(CORSMiddleware):
    """Answers preflight requests, and marks every answer to a page that may read it.

    Starlette's middleware knows its origins beforehand; here the request's Host counts as well. So
    pages that may not read the answers are told apart first, and pass without any header of CORS.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        super().__init__(
            app,
            allow_methods=METHODS,
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=READABLE,
            max_age=REMEMBER_SECONDS,
        )
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin is None or not self._origins.allows(origin, headers.get("host", "")):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        return True  # see __call__

    def preflight_response(self, request_headers: Headers) -> Response:
        """204 without a body, whatever method and headers the page wants."""
        response = super().preflight_response(request_headers)
        headers = dict(response.headers)
        for name in ("content-length", "content-type"):
            del headers[name]
        headers.setdefault("access-control-allow-headers", "*")
        return Response(status_code=204, headers=headers)
