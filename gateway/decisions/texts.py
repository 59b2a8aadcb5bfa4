"""Texts, lists of parts and JSON values as the one text that the model reads."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from cupola.gateway.http.validation import UNSUPPORTED, Body, invalid

_TEXTS = frozenset({"input_text", "output_text", "text"})
_PART = (
    "A part must be {'type': 'input_text', 'text': '...'} or {'type': 'input_json', 'data': ...}"
)
MOST_LEVELS, MOST_VALUES = 32, 10_000  # of one JSON value: OpenAI's limits


class Part(Body):
    """What a list of parts may hold, for the description of the API."""

    type: Literal["input_text", "output_text", "text", "refusal", "input_json"]
    text: str | None = None
    refusal: str | None = None
    data: Any = None


def joined(content: Any) -> Any:
    """Parts as one text. Parts of other kinds are refused by their type."""
    if not isinstance(content, list):
        return content
    return "\n".join(map(_of_part, content))


def as_json(value: Any) -> str:
    """Compact JSON. Raises PydanticCustomError for what is too deep, too large or no number."""
    _check(value)
    return msgspec.json.encode(value).decode()


def as_text(value: Any) -> Any:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else as_json(value)


def _of_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_json":
        return as_json(part.get("data"))
    text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
    if isinstance(text, str) and (kind in _TEXTS or kind == "refusal"):
        return text
    if isinstance(kind, str) and kind not in _TEXTS and kind != "refusal":
        message = "Content of type '{kind}' cannot be read by this model: send text or JSON"
        raise PydanticCustomError(UNSUPPORTED, message, {"kind": kind})
    raise invalid(_PART)


def _check(value: Any) -> None:
    left, values = [(value, 1)], 0
    while left:
        inner, depth = left.pop()
        values += 1
        if depth > MOST_LEVELS or values > MOST_VALUES:
            text = f"JSON here has at most {MOST_LEVELS} levels and {MOST_VALUES} values"
            raise invalid(text)
        if isinstance(inner, float) and not isfinite(inner):
            raise invalid("A number here is neither NaN nor larger than a double can be")
        if isinstance(inner, dict):
            left += [(each, depth + 1) for each in inner.values()]
        elif isinstance(inner, list):
            left += [(each, depth + 1) for each in inner]


Joined = Annotated[str, BeforeValidator(joined, json_schema_input_type=str | list[Part])]
NotEmpty = StringConstraints(min_length=1, strip_whitespace=True)
# The text of a question: as parts in OpenAI's API, as any JSON in System One.
Asked = Annotated[str, NotEmpty, BeforeValidator(joined, json_schema_input_type=str | list[Part])]
AnyText = Annotated[str, BeforeValidator(as_text, json_schema_input_type=Any)]
AnyAsked = Annotated[str, NotEmpty, BeforeValidator(as_text, json_schema_input_type=Any)]
