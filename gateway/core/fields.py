"""Fields that bodies of more than one API have: numbers with their limits, stops, durations.

Also what all bodies of endpoints that score texts have.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WrapValidator
from pydantic_core import PydanticCustomError

from cupola.gateway.access.turns import LEAST_URGENT, LONGEST_TIMEOUT, MOST_URGENT
from cupola.gateway.http.validation import Endpoint, Refused, invalid


def check_limit(limit: int) -> int:
    if limit == 0:
        raise PydanticCustomError("limit", "Input should be at least 1, or -1 for no limit")
    return limit


def null_means(default: Any, schema: Any) -> WrapValidator:
    """null is as good as a field that is not there. ``schema``: what the field takes."""
    return WrapValidator(
        lambda given, check: default if given is None else check(given),
        json_schema_input_type=schema,
    )


MAX_INT = 2**31 - 1
MAX_STOPS = 16
MAX_INPUTS = 2048  # texts of one request for embeddings: OpenAI's limit
Model = Annotated[str, StringConstraints(min_length=1, max_length=500)]
# Of generation: the default model where none is named. An empty name stands for it here.
AnyModel = Annotated[Model, null_means("", Model | None)]
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
# Of new tokens; -1: as many as the context holds.
Limit = Annotated[int, Field(ge=-1, le=MAX_INT), AfterValidator(check_limit)]
Natural = Annotated[int, Field(ge=0, le=MAX_INT)]
# -1 is vLLM's way to say all tokens, 0 that of the others.
TopK = Annotated[int, Field(ge=-1, le=MAX_INT), AfterValidator(lambda count: max(0, count))]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(gt=0, le=1)]


def _without_default(schema: dict[str, Any]) -> None:
    """The empty name is no name that a client would look for."""
    del schema["default"]


def default_model() -> Any:
    return Field(default="", json_schema_extra=_without_default)


def as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


StopText = Annotated[str, StringConstraints(min_length=1)]
Stops = Annotated[list[StopText], Field(max_length=MAX_STOPS)]
Stop = Annotated[Stops, BeforeValidator(as_list, json_schema_input_type=StopText | Stops)]


def check_ttl(ttl: float) -> float:
    if ttl < 0 and ttl != -1:
        raise invalid("ttl is a number of seconds, 0 = unload at once, -1 = keep for ever")
    return ttl


Ttl = Annotated[float, AfterValidator(check_ttl)]
Priority = Annotated[int, Field(ge=MOST_URGENT, le=LEAST_URGENT)]
Timeout = Annotated[float, Field(gt=0, le=LONGEST_TIMEOUT)]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def seconds_of(keep_alive: Any) -> Any:
    """Seconds of a duration: "5m", "1h30m", or a number of seconds. Negative: -1, for ever."""
    if isinstance(keep_alive, str):
        text = keep_alive.removeprefix("-")
        if _DURATION.fullmatch(text):
            seconds = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))
        elif re.fullmatch(r"\d+(\.\d+)?", text):
            seconds = float(text)
        else:
            raise invalid("keep_alive is a duration such as '5m', or a number of seconds")
        return -1.0 if keep_alive.startswith("-") else seconds
    if isinstance(keep_alive, (int, float)) and not isinstance(keep_alive, bool):
        return -1.0 if keep_alive < 0 else keep_alive
    return keep_alive


KeepAlive = Annotated[float, BeforeValidator(seconds_of, json_schema_input_type=str | float)]

MOST_OPTIONS = 255  # of a question
Permutations = Annotated[int, Field(ge=1, le=MOST_OPTIONS)]


class ScoringRequest(Endpoint):
    """The body of an endpoint that scores texts and generates none."""

    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("stream", bool, "nothing is generated, and the answer comes whole"),
        Refused("tools", bool, "nothing is generated, and no tool is called"),
    )

    model: AnyModel = default_model()
    permutations: Permutations | None = None
    cache_salt: str | None = None
    ttl: Ttl | None = None
    stream: bool | None = None
    tools: list[Any] | None = None
