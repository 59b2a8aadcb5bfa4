"""What can go wrong, and the one table from what failed to what HTTP says. No API's format.

Texts say what happened and what to do next. None holds a path, a key or a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from cupola.cache.catalog import UnknownModelError
from cupola.gateway.http.validation import INVALID, OWN_CODES
from cupola.scheduler.protocol.messages import ErrorCode

BAD_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
RATE_LIMIT = "rate_limit_error"
RETRY_SOON = {"retry-after": "1"}
NO_RETRY = {"x-should-retry": "false"}  # else OpenAI's clients repeat a 5xx


class RequestFailed(Exception):
    """The scheduler or a worker could not serve a request.

    ``param``: the part that is to blame, see ``param_names``. Empty: none. ``retry_after``: seconds
    after which it may well work; 0: not known.
    """

    def __init__(
        self, code: ErrorCode, message: str, param: str = "", retry_after: int = 0
    ) -> None:
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        super().__init__(f"{code}: {message}")


class ApiError(Exception):
    """An answer with a status that is not 200. ``error_formats`` has it encoded for its API."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = BAD_REQUEST,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind
        self.param = param
        self.headers = dict(headers or {})
        super().__init__(f"{status} {code}: {message}")


@dataclass(frozen=True, slots=True)
class Shape:
    """How one ErrorCode looks in HTTP. ``param``: to blame where a failure names nothing."""

    status: int
    kind: str
    code: str
    param: str | None = None
    headers: Mapping[str, str] | None = None


TABLE: Mapping[ErrorCode, Shape] = {
    ErrorCode.INVALID_REQUEST: Shape(400, BAD_REQUEST, "invalid_request"),
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: Shape(400, BAD_REQUEST, "context_length_exceeded", "prompt"),
    ErrorCode.MODEL_NOT_FOUND: Shape(404, BAD_REQUEST, "model_not_found", "model"),
    ErrorCode.MODEL_LOAD_FAILED: Shape(500, SERVER_ERROR, "model_load_failed", "model", NO_RETRY),
    ErrorCode.NO_MEMORY: Shape(503, SERVER_ERROR, "insufficient_memory", "model", NO_RETRY),
    ErrorCode.CLIENT_LIMIT: Shape(429, RATE_LIMIT, "too_many_waiting", None, RETRY_SOON),
    ErrorCode.QUEUE_FULL: Shape(503, SERVER_ERROR, "server_overloaded", None, RETRY_SOON),
    ErrorCode.QUEUE_TIMEOUT: Shape(503, SERVER_ERROR, "queue_timeout", None, RETRY_SOON),
    ErrorCode.NO_WORKER: Shape(503, SERVER_ERROR, "no_worker", None, NO_RETRY),
    ErrorCode.WORKER_LOST: Shape(503, SERVER_ERROR, "worker_lost", None, RETRY_SOON),
    ErrorCode.QUARANTINED: Shape(500, SERVER_ERROR, "request_quarantined", None, NO_RETRY),
    ErrorCode.SCHEDULER_LOST: Shape(503, SERVER_ERROR, "scheduler_lost", None, RETRY_SOON),
    ErrorCode.SHUTTING_DOWN: Shape(503, SERVER_ERROR, "shutting_down", None, RETRY_SOON),
    ErrorCode.INTERNAL: Shape(500, SERVER_ERROR, "internal_error"),
}


def from_failure(failed: RequestFailed) -> ApiError:
    shape = TABLE[failed.code]
    message = failed.message[:1].upper() + failed.message[1:]
    headers = dict(shape.headers or {})
    if failed.retry_after:
        headers["retry-after"] = str(failed.retry_after)
    return ApiError(
        shape.status,
        shape.code,
        message,
        kind=shape.kind,
        param=failed.param or shape.param,
        headers=headers,
    )


def unknown_model(unknown: UnknownModelError) -> ApiError:
    message = f"{unknown}. GET /v1/models lists the models that are ready to use."
    return ApiError(404, "model_not_found", message, param="model")


def not_cached(model_id: str) -> ApiError:
    message = (
        f"The model '{model_id}' is known but not on this machine. "
        f"Get it with: cupola model download {model_id}"
    )
    return ApiError(404, "model_not_found", message, param="model")


def from_validation(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body, with the name of the field."""
    first = error.errors(include_url=False)[0]
    kind, context = first["type"], first.get("ctx", {})
    if kind == "json_invalid":
        return ApiError(400, "invalid_json", f"The body is not JSON: {context.get('error', '')}")
    if kind == "model_type" and not first["loc"]:
        return ApiError(400, "invalid_type", "The body must be a JSON object")
    param = _path(first["loc"])
    if own := context.get("param"):
        param = f"{param}.{own}" if param else own
    absent = first["input"] is None and bool(first["loc"]) and isinstance(first["loc"][-1], str)
    if kind == "missing" or (absent and kind.endswith("_type")):  # null is not given
        code, message = "missing_required_parameter", f"Missing required parameter: '{param}'"
    elif kind in OWN_CODES:
        code, message = kind, first["msg"]
    else:
        code = "invalid_type" if kind.endswith("_type") else INVALID
        message = f"Invalid '{param}': {first['msg'][:1].lower()}{first['msg'][1:]}"
    return ApiError(400, code, message, param=param)


def _path(loc: tuple[int | str, ...]) -> str:
    """("messages", 0, "content") as messages[0].content; names of union branches are left out."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _BRANCHES and not step.startswith(("<", "list[", "function-")):
            path += f".{step}" if path else step
    return path


_BRANCHES = frozenset({"str", "dict[str,any]"})


def internal_error(request_id: str) -> ApiError:
    message = f"The service failed in a way it should not. Its log has more under {request_id}."
    return ApiError(500, "internal_error", message, kind=SERVER_ERROR)


def cut_off() -> ApiError:
    """Of a request that the end of the service found without an answer."""
    text = "the service is shutting down; try again when it is back"
    error = from_failure(RequestFailed(ErrorCode.SHUTTING_DOWN, text))
    error.headers["connection"] = "close"
    return error


def from_http(error: HTTPException, method: str, path: str) -> ApiError:
    """Starlette's own refusals: no such route, or not with this method."""
    if error.status_code == 404:
        message = f"There is no {method} {path} here. GET / says what there is."
        return ApiError(404, "unknown_url", message)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{method} is not for {path}: use {allowed}"
        return ApiError(405, "method_not_allowed", message, headers=error.headers)
    return ApiError(error.status_code, "invalid_request", error.detail, headers=error.headers)
