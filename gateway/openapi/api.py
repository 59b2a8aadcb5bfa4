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

from cupola.gateway.http.dialect import Dialect
from cupola.gateway.openapi.described import HTML, JSON, DescribedRoute, Operation, Section, get
from cupola.gateway.openapi.document import document
from cupola.gateway.openapi.page import page


class Description:
    """Describes ``routes`` and its own. Made when it is first asked for, and kept."""

    def __init__(self, routes: Sequence[BaseRoute], dialects: Sequence[Dialect]) -> None:
        self._routes = routes
        self._dialects = dialects
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
            made = await anyio.to_thread.run_sync(self.made)
            self._document = msgspec.json.encode(made)
        return Response(self._document, media_type=JSON)

    async def as_page(self, request: Request) -> Response:
        if self._page is None:
            self._page = await anyio.to_thread.run_sync(lambda: page(self.made()))
        return HTMLResponse(self._page)

    def made(self) -> dict[str, Any]:
        return document(self._routes, self._dialects, version("cupola"))
