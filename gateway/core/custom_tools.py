"""OpenAI's custom tools: they take a text instead of arguments.

To the model such a tool is a function with one parameter, the text. ``toolcalls.custom_input``
turns the arguments of its calls back into texts.
"""

from __future__ import annotations

from typing import Any

from cupola.gateway.core.request import Tool
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind

INPUT = "input"  # the parameter


def custom_tool(name: str, description: str | None, grammar: Constraint | None) -> Tool:
    """``grammar``: of the text; a Lark grammar or a regular expression."""
    text: dict[str, Any] = {"type": "string"}
    if grammar is not None:
        kind = "regular expression" if grammar.kind is ConstraintKind.REGEX else "Lark grammar"
        text["description"] = f"A text that follows this {kind}:\n{grammar.source}"
    if grammar is not None and grammar.kind is ConstraintKind.REGEX:
        text["pattern"] = f"^(?:{grammar.source})$"
    parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT]}
    return Tool(name, description, parameters, custom=True, grammar=grammar)


def as_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call of an earlier answer, as the model wrote them."""
    return {INPUT: text}
