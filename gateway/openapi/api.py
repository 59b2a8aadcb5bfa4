"""GET /openapi.json, and GET /docs: the same as a page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from cupola.gateway.http.error_formats import FormatTable
from cupola.gateway.openapi.described import HTML, JSON, DescribedRoute, Operation, Section, get
from cupola.gateway.openapi.document import document
from cupola.gateway.openapi.page import page


class Description:
    """Describes ``routes`` and its own. The document is made for the first request, and kept."""

    def __init__(self, routes: Sequence[BaseRoute], formats: FormatTable) -> None:
        self._routes = routes
        self._formats = formats
        self._document: bytes | None = None
        self._page: str | None = None

    def routes(self) -> list[DescribedRoute]:
        about = Operation(Section.SERVICE, "This document", answer=dict[str, Any])
        for_people = Operation(Section.SERVICE, "It as a page", answer=str, media=HTML)
        return [
            get("/openapi.json", self.as_document, about),
            get("/docs", self.as_page, for_people),
        ]

    async def as_document(self, request: Request) -> Response:
        if self._document is None:
            content = await anyio.to_thread.run_sync(self.content)
            self._document = msgspec.json.encode(content)
        return Response(self._document, media_type=JSON)

    async def as_page(self, request: Request) -> Response:
        if self._page is None:
            self._page = await anyio.to_thread.run_sync(lambda: page(self.content()))
        return HTMLResponse(self._page)

    def content(self) -> dict[str, Any]:
        return document(self._routes, self._formats, version("cupola"))
