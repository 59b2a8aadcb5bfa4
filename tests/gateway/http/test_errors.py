from __future__ import annotations

import json

import openai
import pytest

from cupola.cache.catalog import UnknownModelError
from cupola.gateway.http.errors import (
    TABLE,
    ApiError,
    RequestFailed,
    from_failure,
    not_cached,
    unknown_model,
)
from cupola.gateway.openai.errors import OpenAIErrors
from cupola.scheduler.protocol.messages import ErrorCode


def test_table_has_every_code() -> None:
    assert set(TABLE) == set(ErrorCode)


def test_codes_differ() -> None:
    codes = [shape.code for code, shape in TABLE.items() if code is not ErrorCode.MODEL_NOT_FOUND]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("code", ErrorCode)
def test_shape(code: ErrorCode) -> None:
    error = from_failure(RequestFailed(code, "something is wrong"))
    assert 400 <= error.status < 600
    kinds = {429: "rate_limit_error"} | dict.fromkeys((400, 404), "invalid_request_error")
    assert error.kind == kinds.get(error.status, "server_error")
    assert json.loads(OpenAIErrors().encode(error)) == {
        "error": {
            "message": "Something is wrong",
            "type": error.kind,
            "param": error.param,
            "code": error.code,
        }
    }


def test_every_503_says_whether_to_try_again() -> None:
    for shape in TABLE.values():
        if shape.status == 503:
            assert shape.headers


def test_overload() -> None:
    error = from_failure(RequestFailed(ErrorCode.QUEUE_FULL, "9 wait already"))
    assert (error.status, error.code) == (503, "server_overloaded")
    assert error.headers["retry-after"] == "1"


def test_unknown_model_lists_near_names() -> None:
    error = unknown_model(UnknownModelError("smolm2", ["smollm2-135m"]))
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "smollm2-135m" in error.message


def test_known_model_that_is_not_here() -> None:
    error = not_cached("m:1")
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "cupola model download m:1" in error.message


def test_official_client_reads_it() -> None:
    body = json.loads(OpenAIErrors().encode(ApiError(400, "invalid_value", "Bad", param="n")))
    error = openai.APIError("Bad", request=None, body=body["error"])  # type: ignore[arg-type]
    assert (error.code, error.param, error.type) == ("invalid_value", "n", "invalid_request_error")
