"""Errors as Anthropic's API has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.datastructures import MutableHeaders

from cupola.gateway.anthropic.answers import AnthropicErrorAnswer
from cupola.gateway.http.dialect import Failure

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


class AnthropicErrors:
    """See ``dialect.Dialect``. Beside Anthropic's fields stand the code and the parameter."""

    prefix = "/v1/messages"
    answer = AnthropicErrorAnswer

    def status(self, status: int, failure: Failure) -> int:
        return OVERLOADED if failure.code in _OVERLOADED_CODES else status

    def body(self, status: int, failure: Failure, request_id: str = "") -> bytes:
        status = self.status(status, failure)
        error: dict[str, Any] = {
            "type": _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error"),
            "message": failure.message,
            "code": failure.code,
            "param": failure.param,
        }
        if details := _DETAILS.get(failure.param or ""):
            error["details"] = details
        body = {"type": "error", "error": error, "request_id": request_id or None}
        return msgspec.json.encode(body)

    def headers(self, headers: MutableHeaders) -> None:
        if request_id := headers.get("x-request-id"):
            headers["request-id"] = request_id
