"""Tools for models whose chat template knows none: the system message describes them. Pure.

Calls and results of earlier turns become text, in the form that the description asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from cupola.gateway.core.request import Tool
from cupola.gateway.core.schemas.odd_schemas import without_nulls
from cupola.gateway.toolcalls.formats import Markers

_INTRODUCTION = """\
You have access to these tools, given as JSON:

{tools}

To call tools, answer with nothing but one line for each call:
{start}{{"name": "<name of the tool>", "arguments": {{<arguments as JSON>}}}}{end}
The results come back between <tool_response> and </tool_response>. If no tool helps, answer in \
plain text."""


def definition(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates read it."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    # Templates go through what is there, and a null is nothing to go through.
    parameters = without_nulls(tool.parameters or {})
    function["parameters"] = parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def described(
    messages: Sequence[dict[str, Any]], tools: Iterable[Tool], markers: Markers
) -> tuple[dict[str, Any], ...]:
    """The messages with the tools in the system message and without roles for tools."""
    plain = [_plain(message, markers) for message in messages]
    lines = "\n".join(
        json.dumps(definition(tool)["function"], ensure_ascii=False) for tool in tools
    )
    if lines:
        text = _INTRODUCTION.format(tools=lines, start=markers.start, end=markers.end)
        if plain and plain[0]["role"] == "system":
            plain[0] = {**plain[0], "content": f"{plain[0]['content']}\n\n{text}"}
        else:
            plain.insert(0, {"role": "system", "content": text})
    return tuple(plain)


def _plain(message: dict[str, Any], markers: Markers) -> dict[str, Any]:
    if message["role"] == "tool":
        text = f"<tool_response>\n{message['content']}\n</tool_response>"
        return {"role": "user", "content": text}
    if calls := message.get("tool_calls"):
        lines = [message["content"]] if message["content"] else []
        for call in calls:
            lines.append(f"{markers.start}{json.dumps(call['function'])}{markers.end}")
        return {"role": message["role"], "content": "\n".join(lines)}
    return message
