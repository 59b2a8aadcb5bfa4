"""The items of POST /v1/responses' ``input``: messages, calls, their results, and reasoning.

Items that tell of tools that OpenAI's service runs are skipped, as those tools are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from cupola.gateway.core.fields import null_means
from cupola.gateway.http.validation import UNSUPPORTED, Body, invalid

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_PART = "A part of the content must be {'type': 'input_text', 'text': '...'}"


def joined(content: Any) -> Any:
    """Content as one string; parts that are no text are refused by their type."""
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise invalid(_PART)
        text = part.get("refusal" if kind == "refusal" else "text")
        if isinstance(text, str) and (kind in _TEXTS or kind == "refusal"):
            texts.append(text)
        elif kind not in _TEXTS and kind != "refusal":
            message = "Content of type '{kind}' cannot be read by this model: send text only"
            raise PydanticCustomError(UNSUPPORTED, message, {"kind": kind})
        else:
            raise invalid(_PART)
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
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: Joined
    id: str | None = None
    status: Status | None = None


class CustomCallItem(Body):
    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: Annotated[str, null_means("", str | None)] = ""
    id: str | None = None
    status: Status | None = None


class BuiltInCallItem(Body):
    """A call of a tool that the app runs, and that OpenAI's models know by themselves."""

    type: Literal["local_shell_call", "shell_call", "apply_patch_call"]
    call_id: str | None = None
    id: str | None = None
    action: dict[str, Any] | None = None
    operation: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.type.removesuffix("_call")

    @property
    def key(self) -> str:
        """What its result names it by."""
        return self.call_id or self.id or ""


class BuiltInOutputItem(Body):
    type: Literal["local_shell_call_output", "shell_call_output", "apply_patch_call_output"]
    call_id: str | None = None
    id: str | None = None
    output: Any = None

    @property
    def key(self) -> str:
        return self.call_id or self.id or ""

    @property
    def text(self) -> str:
        if isinstance(self.output, str):
            return self.output
        return "" if self.output is None else json.dumps(self.output, ensure_ascii=False)


class ReasoningItem(Body):
    """What a model thought before. ``content`` is the whole of it, ``summary`` the next best.

    Nobody can read here what another service has encrypted: it is skipped.
    """

    type: Literal["reasoning"]
    summary: Joined | None = None
    content: Joined | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status | None = None

    @property
    def thought(self) -> str:
        return self.content or self.summary or ""


class SkippedItem(Body):
    """An item of a kind that there is not here: web_search_call, mcp_call and others."""

    type: Any = None

    @model_validator(mode="after")
    def _checked(self) -> SkippedItem:
        if not isinstance(self.type, str) or len(self.type) > MAX_TYPE:
            raise invalid("An item of the input needs a 'role' or a 'type'", "type")
        if self.type != "item_reference":
            return self
        hint = "send the item itself, or use 'previous_response_id'"
        message = f"Items of type '{self.type}' are not supported here: {hint}"
        raise PydanticCustomError(UNSUPPORTED, "{message}", {"message": message, "param": "type"})


MAX_TYPE = 128  # characters
_KINDS = {
    "message": "<message>",
    "function_call": "<function_call>",
    "function_call_output": "<function_call_output>",
    "custom_tool_call": "<custom_tool_call>",
    "custom_tool_call_output": "<function_call_output>",
    "reasoning": "<reasoning>",
    **dict.fromkeys(("local_shell_call", "shell_call", "apply_patch_call"), "<built_in>"),
    **dict.fromkeys(
        ("local_shell_call_output", "shell_call_output", "apply_patch_call_output"),
        "<built_in_output>",
    ),
}


def _kind(item: Any) -> str:
    if isinstance(item, dict):
        kind = item.get("type", "message" if "role" in item else None)
        if kind is None and "role" in item:
            kind = "message"
    else:
        kind = getattr(item, "type", None) or "message"
    return _KINDS.get(kind, "<skipped>") if isinstance(kind, str) else "<skipped>"


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<function_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[CustomCallItem, Tag("<custom_tool_call>")]
    | Annotated[BuiltInCallItem, Tag("<built_in>")]
    | Annotated[BuiltInOutputItem, Tag("<built_in_output>")]
    | Annotated[SkipJsonSchema[SkippedItem], Tag("<skipped>")],
    Discriminator(_kind),
]


def skipped_items(items: Iterable[Any]) -> list[str]:
    """The types of the items that the model does not read."""
    types = dict[str, None]()
    for item in items:
        unread = isinstance(item, ReasoningItem) and item.encrypted_content and not item.thought
        if isinstance(item, SkippedItem) or unread:
            types[item.type] = None
    return list(types)


def as_items(given: Any) -> Any:
    """A text as the one message that it is short for."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given
