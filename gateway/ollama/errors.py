"""Errors as Ollama's API has them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cupola.gateway.http.errors import ApiError


class OllamaErrorAnswer(msgspec.Struct, frozen=True):
    """``code`` and ``param`` stand beside Ollama's own field."""

    error: str
    code: str | None
    param: str | None


class OllamaErrors:
    """See ``error_formats.ErrorFormat``."""

    answer = OllamaErrorAnswer
    request_id_headers: Sequence[str] = ("x-request-id",)

    def status(self, status: int, code: str) -> int:
        return status

    def encode(self, error: ApiError, request_id: str = "") -> bytes:
        return msgspec.json.encode(OllamaErrorAnswer(error.message, error.code, error.param))
