"""Routes of endpoints that other servers have and this one does not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from starlette.routing import Route

from cupola.gateway.openapi.described import DescribedRoute, Operation, Section

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def absent(
    path: str, endpoint: Callable[..., Any], what: str, methods: Collection[str] = METHODS
) -> Route:
    """A route that refuses whatever comes."""
    about = Operation(
        Section.ABSENT, f"Not here: {what}", errors=("unsupported_endpoint",), succeeds=False
    )
    return DescribedRoute(path, endpoint, about, methods)
