"""Addresses as clients write them: this middleware makes each the one that a route has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

# Of clients whose base URL lacks the version. /models/... has addresses of Foundry Local.
WITHOUT_VERSION = (
    "/chat/completions", "/completions", "/embeddings", "/responses", "/messages",
)  # fmt: skip
OTHERS: Mapping[str, str] = {"/models": "/v1/models", "/v1/health": "/health"}
_SLASHES = re.compile("/{2,}")


def known_as(path: str) -> str:
    """The path without what clients' base URLs add and lack. Pure."""
    path = _SLASHES.sub("/", path)
    path = path.rstrip("/") or "/"
    if any(path == known or path.startswith(f"{known}/") for known in WITHOUT_VERSION):
        return f"/v1{path}"
    return OTHERS.get(path, path)


class Paths:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path.startswith(("http://", "https://")):
                path = _without_authority(path, scope)
            scope["path"] = known_as(path)
        await self._app(scope, receive, send)


def _without_authority(path: str, scope: Scope) -> str:
    """A whole URL in the place of a path, as to a proxy. Its host counts (RFC 9112, 3.2.2)."""
    try:
        url = urlsplit(path)
    except ValueError:
        return path
    scope["headers"] = list(scope["headers"])
    MutableHeaders(scope=scope)["host"] = url.netloc
    return url.path or "/"
