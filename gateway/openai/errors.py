"""Errors as OpenAI's API has them. The APIs without a format of their own use it as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from cupola.gateway.http.errors import ApiError

Kind = Literal["invalid_request_error", "server_error"]


class ErrorBody(msgspec.Struct, frozen=True):
    message: str  # what happened and what to do next
    type: Kind
    param: str | None  # the parameter that is to blame
    code: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    error: ErrorBody


class OpenAIErrors:
    """See ``error_formats.ErrorFormat``."""

    answer = ErrorAnswer
    request_id_headers: Sequence[str] = ("x-request-id",)

    def status(self, status: int, code: str) -> int:
        return status

    def encode(self, error: ApiError, request_id: str = "") -> bytes:
        body = ErrorBody(error.message, cast(Kind, error.kind), error.param, error.code)
        return msgspec.json.encode(ErrorAnswer(body))
