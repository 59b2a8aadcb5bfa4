"""Grammars that make a model call tools, or think before an answer of a given form. Pure.

A required call is written as bare JSON: ``{"name": …, "arguments": …}``, or a list of such where
there may be several. That needs nothing of the model's markers, so it works for every model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cupola.gateway.core.request import Tool
from cupola.gateway.core.schemas.closed_schema import closed, is_open
from cupola.gateway.core.schemas.odd_schemas import enforceable
from cupola.gateway.toolcalls.formats import AnswerFormat, ToolCallFormat
from cupola.gateway.toolcalls.readers import Payload
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind

MAX_CALLS = 16  # of one answer
ENFORCED = ToolCallFormat(bare=True)  # how a required call is read
_TEXT = r"TEXT: /(.|\n)*/"
_SPACE = r"SPACE: /[ \t\n]*/"


def calls_schema(tools: Sequence[Tool], *, parallel: bool, only_strict: bool = False) -> Any:
    """The JSON Schema of a call, or of a list of calls."""
    definitions: dict[str, Any] = {}
    forms: list[Any] = []
    for number, tool in enumerate(tools):
        arguments: Any = {"type": "object"}
        if tool.strict or not only_strict:
            key = f"tool{number}"
            definitions[key] = _rebased(_parameters(tool), f"#/$defs/{key}")
            arguments = {"$ref": f"#/$defs/{key}"}
        forms.append({
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        })  # fmt: skip
    call: dict[str, Any] = forms[0] if len(forms) == 1 else {"anyOf": forms}
    if parallel:
        call = {"type": "array", "items": call, "minItems": 1, "maxItems": MAX_CALLS}
    return {**call, "$defs": definitions} if definitions else call


def _parameters(tool: Tool) -> Any:
    """OpenAI's default is an empty list of parameters. Arguments are always an object."""
    given = enforceable(tool.parameters or {})
    parameters = closed({"type": "object", "properties": {}} | given)
    return parameters if is_open(parameters) else parameters | {"additionalProperties": False}


def _rebased(schema: Any, root: str) -> Any:
    """The schema as a part of a larger one: references to its root point to ``root``."""
    if isinstance(schema, list):
        return [_rebased(item, root) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: root + value[1:]
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _rebased(value, root)
        for key, value in schema.items()
    }


def required_calls(
    tools: Sequence[Tool], *, parallel: bool, think: AnswerFormat | None
) -> Constraint:
    """At least one call, and nothing else but the reasoning of a model that thinks."""
    schema = calls_schema(tools, parallel=parallel)
    constraint = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema, ensure_ascii=False))
    return constraint if think is None else after_reasoning(constraint, think)


def after_reasoning(constraint: Constraint, answer_format: AnswerFormat) -> Constraint:
    """The same, once the model has thought, if it wants to. A grammar of the client's own stays."""
    own = constraint.kind in (ConstraintKind.LARK, ConstraintKind.GBNF)
    if own or not answer_format.reasoning:
        return constraint
    start, end = answer_format.reasoning[0].start, answer_format.reasoning[0].end
    think = f"think[lazy]: TEXT {_quoted(end)}"
    if answer_format.starts_in_reasoning:
        begin = "start: think SPACE answer"
    else:
        begin = f"start: answer | {_quoted(start)} think SPACE answer"
    return _lark(begin, think, f"answer: {_inline(constraint)}", _TEXT, _SPACE)


def strict_calls(tools: Sequence[Tool], form: ToolCallFormat) -> Constraint:
    """Any text, in which calls of strict tools have valid arguments."""
    call = _inline_json(calls_schema(tools, parallel=False, only_strict=True))
    if not form.markers:
        return _lark("start: call | TEXT", f"call: {call}", r"TEXT: /([^{](.|\n)*)?/")
    start, end = form.markers[0].start, form.markers[0].end
    close = f" SPACE {_quoted(end)}" if end else ""
    rules = (
        f"before[lazy]: TEXT {_quoted(start)}",
        f"call: before SPACE {call}{close}",
        "rest: TEXT",
        _TEXT,
        _SPACE,
    )
    return _lark("start: call* rest", *rules)


def calls_or(constraint: Constraint, tools: Sequence[Tool], form: ToolCallFormat) -> Constraint:
    """Either calls, or an answer of the given form."""
    call = _inline_json(calls_schema(tools, parallel=False, only_strict=True))
    answer = f"answer: {_inline(constraint)}"
    if not form.markers:
        return _lark("start: call | answer", f"call: {call}", answer)
    start, end = form.markers[0].start, form.markers[0].end
    close = f" SPACE {_quoted(end)}" if end else ""
    line = f"call: {_quoted(start)} SPACE {call}{close} SPACE"
    return _lark("start: call+ | answer", line, answer, _SPACE)


def can_be_mixed(form: ToolCallFormat) -> bool:
    """Whether a grammar can describe calls of this format among other text."""
    return form.payload is Payload.JSON and (bool(form.markers) or form.bare)


def _lark(*rules: str) -> Constraint:
    return Constraint(ConstraintKind.LARK, "\n".join(("%llguidance {}", *rules)))


def _inline(constraint: Constraint) -> str:
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return '%json {"type": "object"}'
        case ConstraintKind.REGEX:
            return "/" + constraint.source.replace("/", r"\/") + "/"
        case _:
            return f"%json {constraint.source}"


def _inline_json(schema: Any) -> str:
    return "%json " + json.dumps(schema, ensure_ascii=False)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
