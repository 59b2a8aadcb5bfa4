"""Who shares cached beginnings with whom, where the operator keeps his clients apart.

A prompt that another client has sent is answered sooner, which tells that it was sent. With the
setting ``tenants = keys`` clients with different API keys share nothing. The keys are not checked.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar

from msgspec.structs import replace
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.scheduler.protocol.messages import Work

# Of the request that is being served; a task that serves it further has a copy.
_tenant: ContextVar[str] = ContextVar("tenant", default="")


class Tenants:
    """Middleware: notes whose request it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _tenant.set(_tenant_of(Headers(scope=scope)))
        await self._app(scope, receive, send)


def of_tenant(work: Work) -> Work:
    """The work, salted so that other tenants share nothing with it."""
    tenant = _tenant.get()
    return replace(work, cache_salt=f"{tenant}:{work.cache_salt}") if tenant else work


def _tenant_of(headers: Headers) -> str:
    """A digest of the client's key: the key itself goes no further."""
    key = headers.get("authorization") or headers.get("x-api-key") or headers.get("api-key") or ""
    key = key.removeprefix("Bearer ").strip()
    return hashlib.sha256(key.encode()).hexdigest()
