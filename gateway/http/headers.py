"""The headers of a request, decoded once for all that look at them."""

from __future__ import annotations

from typing import cast

from starlette.datastructures import Headers
from starlette.types import Scope

_KEY = "cupola.headers"  # of a scope


class RequestHeaders(Headers):
    """As Starlette's, which goes through all headers for each question. Names are lower case."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self.read_from = raw
        # Of several headers with one name the first counts.
        self._first = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)
        }

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower()]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._first

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return self._first.get(key.lower(), default)


def headers_of(scope: Scope) -> Headers:
    """The headers of ``scope``. Whoever changes them gives the scope another list."""
    known = cast("RequestHeaders | None", scope.get(_KEY))
    raw = scope["headers"]
    if known is None or known.read_from is not raw:
        known = scope[_KEY] = RequestHeaders(raw)
    return known
