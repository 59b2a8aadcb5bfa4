"""The items of POST /v1/responses' ``input``: messages, calls, their results, and reasoning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from cupola.gateway.core.fields import null_means
from cupola.gateway.http.validation import UNSUPPORTED, Body, invalid

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


def joined(content: Any) -> Any:
    """Content as one string; parts that are no text are refused by their type."""
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if kind else None
        if isinstance(text, str) and (kind in _TEXTS or kind == "refusal"):
            texts.append(text)
        elif isinstance(kind, str) and kind not in _TEXTS and kind != "refusal":
            message = "Content of type '{kind}' cannot be read by this model: send text only"
            raise PydanticCustomError(UNSUPPORTED, message, {"kind": kind})
        else:
            raise invalid("A part of the content must be {'type': 'input_text', 'text': '...'}")
    return "".join(texts)


class ItemPart(Body):
    """What a list of parts may hold, for the description of the API."""

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal"]
    text: str | None = None
    refusal: str | None = None


Joined = Annotated[str, BeforeValidator(joined, json_schema_input_type=str | list[ItemPart])]
Status = Literal["in_progress", "completed", "incomplete"]


class MessageItem(Body):
    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Joined
    id: str | None = None
    status: Status | None = None


class CallItem(Body):
    """A call that an earlier answer made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: Annotated[str, null_means("", str | None)] = ""
    id: str | None = None
    status: Status | None = None


class CallOutputItem(Body):
    type: Literal["function_call_output"]
    call_id: str
    output: Joined
    id: str | None = None
    status: Status | None = None


class ReasoningItem(Body):
    """What a model thought before. ``content`` is the whole of it, ``summary`` the next best."""

    type: Literal["reasoning"]
    summary: Joined | None = None
    content: Joined | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status | None = None

    @model_validator(mode="after")
    def _readable(self) -> ReasoningItem:
        if self.encrypted_content and not self.content:
            message = "Reasoning that another service has encrypted cannot be read here"
            raise PydanticCustomError(
                UNSUPPORTED, "{message}", {"message": message, "param": "encrypted_content"}
            )
        return self


class ForeignItem(Body):
    """An item of a kind that there is not here."""

    type: Any = None

    @model_validator(mode="after")
    def _refused(self) -> ForeignItem:
        if not isinstance(self.type, str):
            raise invalid("An item of the input needs a 'role' or a 'type'", "type")
        hint = "send messages, function_call, function_call_output and reasoning"
        if self.type == "item_reference":
            hint = "send the item itself, or use 'previous_response_id'"
        message = f"Items of type '{self.type}' are not supported here: {hint}"
        raise PydanticCustomError(UNSUPPORTED, "{message}", {"message": message, "param": "type"})


_KINDS = frozenset({"message", "function_call", "function_call_output", "reasoning"})


def _kind(item: Any) -> str:
    if not isinstance(item, dict):
        return f"<{getattr(item, 'type', None) or 'message'}>"
    kind = item.get("type")
    if kind is None:
        return "<message>" if "role" in item else "<foreign>"
    return f"<{kind}>" if isinstance(kind, str) and kind in _KINDS else "<foreign>"


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<function_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[SkipJsonSchema[ForeignItem], Tag("<foreign>")],
    Discriminator(_kind),
]


def as_items(given: Any) -> Any:
    """A text as the one message that it is short for."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given
