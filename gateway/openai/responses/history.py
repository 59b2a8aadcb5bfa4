"""A response's items as the messages of a chat template. Pure.

A model's reasoning, text and calls that follow each other are one message of its.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from cupola.gateway.core.custom_tools import as_arguments
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.body.conversation import parsed
from cupola.gateway.openai.responses.body.items import (
    BuiltInCallItem,
    BuiltInOutputItem,
    CallItem,
    CallOutputItem,
    CustomCallItem,
    Item,
    MessageItem,
    ReasoningItem,
)

_items: TypeAdapter[list[Any]] = TypeAdapter(list[Item], config=ConfigDict(defer_build=True))
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}


def read_items(stored: Sequence[dict[str, Any]]) -> list[Any]:
    """Items as they were kept, or as a response holds them in its output."""
    return _items.validate_python(list(stored))


def input_items(given: Any, response_id: str) -> list[dict[str, Any]]:
    """The input of a request as items that can be listed: each has a type, parts and an id."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_listed(item, number, response_id) for number, item in enumerate(given)]


def _listed(item: dict[str, Any], number: int, response_id: str) -> dict[str, Any]:
    kind = item.get("type") or "message"
    suffix = response_id.partition("_")[2]
    own_id = item.get("id") or f"{_PREFIXES.get(kind, 'item')}_{suffix}{number:04d}"
    listed = {**item, "id": own_id, "type": kind, "status": item.get("status") or "completed"}
    if kind == "message" and isinstance(item.get("content"), str):
        part: dict[str, Any] = {"type": "input_text", "text": item["content"]}
        if item["role"] == "assistant":
            part = {"type": "output_text", "text": item["content"], "annotations": []}
        listed["content"] = [part]
    return listed


def messages(instructions: str | None, items: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """What the model is to read."""
    out: list[dict[str, Any]] = []
    if instructions:
        out.append({"role": "system", "content": instructions})
    own: dict[str, Any] | None = None  # the model's message that more can be added to
    for item in items:
        match item:
            case MessageItem(role="assistant", content=content):
                if own is None or own["content"] or "tool_calls" in own:
                    own = _own(out)
                own["content"] = content
            case ReasoningItem(thought=thought) if thought:
                if own is None or own["content"] or "tool_calls" in own:
                    own = _own(out)
                own["reasoning_content"] = own.get("reasoning_content", "") + thought
            case CallItem() | CustomCallItem() | BuiltInCallItem():
                own = _own(out) if own is None else own
                own.setdefault("tool_calls", []).append(_call(item))
            case CallOutputItem():
                own = None
                out.append({"role": "tool", "content": item.output, "tool_call_id": item.call_id})
            case BuiltInOutputItem():
                own = None
                out.append({"role": "tool", "content": item.text, "tool_call_id": item.key})
            case MessageItem():
                own = None
                role = "system" if item.role == "developer" else item.role
                out.append({"role": role, "content": item.content})
    return tuple(out)


def _call(item: CallItem | CustomCallItem | BuiltInCallItem) -> dict[str, Any]:
    match item:
        case CallItem():
            call_id, arguments = item.call_id, parsed(item.arguments)
        case CustomCallItem():
            call_id, arguments = item.call_id, as_arguments(item.input)
        case BuiltInCallItem():
            call_id, arguments = item.key, item.action or item.operation or {}
    function = {"name": item.name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _own(out: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    out.append(message)
    return message


def check_calls(items: Iterable[Any]) -> None:
    """Raises ApiError for the result of a call that is not among the items."""
    calls: set[str] = set()
    for item in items:
        if isinstance(item, CallItem | CustomCallItem):
            calls.add(item.call_id)
        elif isinstance(item, BuiltInCallItem):
            calls.add(item.key)
        elif isinstance(item, CallOutputItem) and item.call_id not in calls:
            kind = item.type.replace("_", " ")
            text = f"No tool call found for {kind} with call_id '{item.call_id}'"
            raise ApiError(400, "invalid_value", text, param="input")
