"""A second port, where Ollama's clients look for it: through it only Ollama's API is reached."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.gateway.http.error_formats import error_response
from cupola.gateway.http.errors import ApiError

PREFIX = "/api/"  # of Ollama's paths
RUNNING = "Ollama is running"  # clients look for this very text


class OllamaPort:
    """Middleware. What comes in at other ports passes as it is."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server") or ("", 0)
        if scope["type"] != "http" or server[1] != self._port:
            return await self._app(scope, receive, send)
        if scope["path"].startswith(PREFIX):
            return await self._app(scope, receive, send)
        if scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            return await PlainTextResponse(RUNNING)(scope, receive, send)
        text = "This port has Ollama's API only, below /api; the service's own port has the others"
        response = error_response(ApiError(404, "unknown_url", text), scope)
        await response(scope, receive, send)
