"""Errors as Anthropic's API has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from cupola.gateway.http.errors import ApiError

OVERLOADED = 529
_OVERLOADED_CODES = frozenset({"server_overloaded", "queue_timeout"})
_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}
# What the official client's own helpers act on, by the parameter that is refused: those that would
# keep the conversation on the server send all of it instead.
_DETAILS: Mapping[str, Mapping[str, str]] = {
    "thread": {"error_code": "thread_unsupported_request"},
}


class AnthropicErrorBody(msgspec.Struct, frozen=True):
    """``code`` and ``param`` stand beside Anthropic's own fields."""

    type: str
    message: str
    code: str | None
    param: str | None
    details: Mapping[str, str] | msgspec.UnsetType = msgspec.UNSET


class AnthropicErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["error"] = "error"
    error: AnthropicErrorBody
    request_id: str | None


class AnthropicErrors:
    """See ``error_formats.ErrorFormat``."""

    answer = AnthropicErrorAnswer
    request_id_headers: Sequence[str] = ("x-request-id", "request-id")

    def status(self, status: int, code: str) -> int:
        return OVERLOADED if code in _OVERLOADED_CODES else status

    def encode(self, error: ApiError, request_id: str = "") -> bytes:
        status = self.status(error.status, error.code)
        body = AnthropicErrorBody(
            type=_KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error"),
            message=error.message,
            code=error.code,
            param=error.param,
            details=_DETAILS.get(error.param or "", msgspec.UNSET),
        )
        return msgspec.json.encode(AnthropicErrorAnswer(error=body, request_id=request_id or None))
