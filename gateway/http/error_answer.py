"""Errors as OpenAI's API has them."""

from __future__ import annotations

from typing import Literal, TypedDict


class ErrorBody(TypedDict):
    message: str  # what happened and what to do next
    type: Literal["invalid_request_error", "server_error"]
    param: str | None  # the parameter that is to blame
    code: str


class ErrorAnswer(TypedDict):
    error: ErrorBody
