"""The grammars, held against llguidance itself, byte by byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from cupola.gateway.core.request import Tool
from cupola.gateway.toolcalls.enforcing import (
    MAX_CALLS,
    after_reasoning,
    calls_or,
    calls_schema,
    required_calls,
    strict_calls,
)
from cupola.gateway.toolcalls.formats import AnswerFormat
from cupola.gateway.toolcalls.known import HERMES, HERMES_CALLS, LLAMA3, THINK
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from tests.gateway.toolcalls.grammars import follows

CITY = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"City": {"enum": ["Paris", "Rome"]}},
}
WEATHER = Tool("get_weather", parameters=CITY, strict=True)
NOW = Tool("now")
PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
OSLO = PARIS.replace("Paris", "Oslo")
CLOCK = '{"name": "now", "arguments": {}}'
THINKS = replace(HERMES, reasoning=(THINK,))
BEGUN = replace(THINKS, starts_in_reasoning=True)


@pytest.mark.parametrize("think", [None, THINKS, BEGUN])
@pytest.mark.parametrize(
    ("parallel", "answer", "possible"),
    [
        (False, PARIS, True),
        (False, CLOCK, True),
        (False, OSLO, False),
        (False, f"[{PARIS}]", False),
        (False, "text", False),
        (False, "", False),
        (False, '{"name": "fly", "arguments": {}}', False),
        (False, '{"name": "now", "arguments": {"x": 1}}', False),
        (True, f"[{PARIS}, {CLOCK}]", True),
        (True, f"[{PARIS}, {OSLO}]", False),
        (True, "[]", False),
    ],
)
def test_required(think: AnswerFormat | None, parallel: bool, answer: str, possible: bool) -> None:
    constraint = required_calls([WEATHER, NOW], parallel=parallel, think=think)
    thoughts = ["" if think is not BEGUN else "Hm {}?</think>\n\n"]
    if think is THINKS:
        thoughts.append("<think>\nHm {}?\n</think>\n\n")
    for thought in thoughts:
        assert follows(constraint, thought + answer) is possible


def test_the_number_of_calls_is_bounded() -> None:
    constraint = required_calls([NOW], parallel=True, think=None)
    assert follows(constraint, "[" + ", ".join([CLOCK] * MAX_CALLS) + "]")
    assert not follows(constraint, "[" + ", ".join([CLOCK] * (MAX_CALLS + 1)) + "]")


@pytest.mark.parametrize(
    ("answer", "possible"),
    [
        ("No tool helps.", True),
        ("", True),
        (f"Wait.\n<tool_call>\n{PARIS}\n</tool_call>", True),
        (f"<tool_call>{PARIS}</tool_call>\n<tool_call>{CLOCK}</tool_call> Done.", True),
        (f"<tool_call>{OSLO}</tool_call>", False),
        ('<tool_call>{"name": "now", "arguments": {"x": 1}}</tool_call>', True),  # not strict
        ("<tool_call>fly", False),
    ],
)
def test_strict_among_text(answer: str, possible: bool) -> None:
    assert follows(strict_calls([WEATHER, NOW], HERMES_CALLS), answer) is possible


@pytest.mark.parametrize(
    ("answer", "possible"), [("Text {", True), (PARIS, True), (OSLO, False), ("", True)]
)
def test_strict_without_markers(answer: str, possible: bool) -> None:
    assert LLAMA3.tools is not None
    form = replace(LLAMA3.tools, markers=())
    assert follows(strict_calls([WEATHER], form), answer) is possible


NUMBER = Constraint(ConstraintKind.JSON_SCHEMA, '{"type": "integer"}')


@pytest.mark.parametrize(
    ("answer", "possible"),
    [("12", True), (f"<tool_call>{PARIS}</tool_call>", True), ("text", False),
     (f"<tool_call>{OSLO}</tool_call>", False)],
)  # fmt: skip
def test_calls_or_a_form(answer: str, possible: bool) -> None:
    assert follows(calls_or(NUMBER, [WEATHER], HERMES_CALLS), answer) is possible


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        (NUMBER, "12"),
        (Constraint(ConstraintKind.JSON_OBJECT), '{"a": [1]}'),
        (Constraint(ConstraintKind.REGEX, "a/b{2}"), "a/bb"),
    ],
)
def test_form_after_reasoning(wanted: Constraint, answer: str) -> None:
    constraint = after_reasoning(wanted, THINKS)
    assert follows(constraint, answer)
    assert follows(constraint, f"<think>\n12?\n</think>\n\n{answer}")
    assert not follows(constraint, f"Well: {answer}")
    begun = after_reasoning(wanted, BEGUN)
    assert follows(begun, f"12?</think>{answer}")
    assert not follows(begun, answer)


def test_a_grammar_of_the_clients_own_stays() -> None:
    grammar = Constraint(ConstraintKind.LARK, 'start: "a"')
    assert after_reasoning(grammar, THINKS) is grammar


@pytest.mark.parametrize("parameters", [None, {}, {"properties": {"x": {"type": "integer"}}}])
def test_arguments_are_always_an_object(parameters: dict[str, Any] | None) -> None:
    schema = calls_schema([Tool("f", parameters=parameters)], parallel=False)
    assert schema["$defs"]["tool0"]["type"] == "object"
    assert schema["$defs"]["tool0"]["additionalProperties"] is False


def test_further_arguments_where_the_schema_speaks_of_them() -> None:
    parameters = {"type": "object", "additionalProperties": {"type": "integer"}}
    schema = calls_schema([Tool("f", parameters=parameters)], parallel=False)
    assert schema["$defs"]["tool0"]["additionalProperties"]["type"] == "integer"


def test_references_stay_within_their_tool() -> None:
    schema = calls_schema([WEATHER, WEATHER], parallel=True)
    assert "#/$defs/tool1/$defs/City" in json.dumps(schema)
    assert '"#/$defs/City"' not in json.dumps(schema)
