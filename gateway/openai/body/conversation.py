"""The messages of a chat, and what a chat template reads of them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from cupola.gateway.core.custom_tools import as_arguments
from cupola.gateway.core.fields import null_means
from cupola.gateway.http.validation import UNSUPPORTED, Body, invalid

_TEXT = "send text only"
_SOUND = "make text of the sound first, with POST /v1/audio/transcriptions"


def join_parts(content: Any) -> Any:
    """Content as one string: a list of text parts is joined, other kinds of parts are refused."""
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(kind) if kind in ("text", "refusal") else None
        if isinstance(text, str):
            texts.append(text)
        elif isinstance(kind, str) and kind != "text":
            raise PydanticCustomError(
                UNSUPPORTED,
                "Content of type '{kind}' cannot be read by this model: {hint}",
                {"kind": kind, "hint": _SOUND if kind in ("input_audio", "audio_url") else _TEXT},
            )
        else:
            raise invalid("A part of the content must be {'type': 'text', 'text': '...'}")
    return "".join(texts)


class ContentPart(Body):
    """What a list of parts may hold, for the description of the API."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None


Text = Annotated[str, BeforeValidator(join_parts, json_schema_input_type=str | list[ContentPart])]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class CalledFunction(Body):
    name: str
    arguments: Annotated[str, null_means("", str | None)] = ""

    def for_template(self) -> dict[str, Any]:
        return {"name": self.name, "arguments": parsed(self.arguments)}


class CalledCustom(Body):
    name: str
    input: Annotated[str, null_means("", str | None)] = ""

    def for_template(self) -> dict[str, Any]:
        return {"name": self.name, "arguments": as_arguments(self.input)}


Kind = Literal["function", "custom"]


class ToolCall(Body):
    """A call that an earlier answer made."""

    id: str | None = None
    type: Annotated[Kind, null_means("function", Kind | None)] = "function"
    function: CalledFunction | None = None
    custom: CalledCustom | None = None

    @model_validator(mode="after")
    def _has_its_kind(self) -> ToolCall:
        if getattr(self, self.type) is None:
            raise PydanticCustomError("missing", "Field required", {"param": self.type})
        return self

    def for_template(self) -> dict[str, Any]:
        called = self.custom if self.type == "custom" else self.function
        assert called is not None
        call: dict[str, Any] = {"type": "function", "function": called.for_template()}
        return call if self.id is None else {"id": self.id, **call}


def parsed(arguments: str) -> Any:
    """The object that OpenAI's API sends as a string: templates write it out by themselves."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


class Message(Body):
    role: Role
    content: Text | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None  # what tool_calls was before
    reasoning_content: str | None = None
    reasoning: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise invalid(f"A message of role '{self.role}' needs content", "content")
        return self

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates read it: no legacy roles, arguments as objects."""
        roles = {"developer": "system", "function": "tool"}
        role = roles.get(self.role, self.role)
        message: dict[str, Any] = {"role": role, "content": self.content or ""}
        calls = list(self.tool_calls or ())
        if self.function_call is not None:
            calls.append(ToolCall(function=self.function_call))
        if calls and role == "assistant":
            message["tool_calls"] = [call.for_template() for call in calls]
        if thought := self.reasoning_content or self.reasoning:
            message["reasoning_content"] = thought
        for field in ("name", "tool_call_id"):
            if value := getattr(self, field):
                message[field] = value
        return message
