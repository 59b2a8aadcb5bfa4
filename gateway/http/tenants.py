"""Tells the clients apart by their API keys, where the operator wants that.

A prompt that another client has sent before is answered sooner, which reveals that it was sent.
With the setting ``tenants = keys`` each API key is a tenant, and tenants share no cached prefixes.
Every Submit names its tenant; the worker keeps them apart. The keys are not checked.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

# Of the request that is being served. A task that is started for the request has a copy.
_tenant: ContextVar[str] = ContextVar("tenant", default="")


class Tenants:
    """Middleware that notes the tenant of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _tenant.set(_digest(Headers(scope=scope)))
        await self._app(scope, receive, send)


def current_tenant() -> str:
    """Whose request is being served; empty where all clients are one tenant."""
    return _tenant.get()


def _digest(headers: Headers) -> str:
    """Of the client's key: the key itself is neither sent on nor logged."""
    key = headers.get("authorization") or headers.get("x-api-key") or headers.get("api-key") or ""
    key = key.removeprefix("Bearer ").strip()
    return hashlib.sha256(key.encode()).hexdigest()
