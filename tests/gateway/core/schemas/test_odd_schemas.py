"""Schemas of tools as generators really write them are taken, and followed where they can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.core.request import Tool
from cupola.gateway.core.schemas.odd_schemas import FORMATS, enforceable, without_nulls
from cupola.gateway.toolcalls.enforcing import required_calls
from cupola.scheduler.protocol.messages import Submit
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of
from tests.gateway.toolcalls.grammars import follows

CITY = {"type": "string"}
# Schemas, and arguments that are valid.
ODD: list[tuple[dict[str, Any], str]] = [
    ({"type": "object", "properties": {"city": CITY}, "required": None}, '{"city": "Oslo"}'),
    ({"type": "object", "properties": None}, "{}"),
    ({"type": "object", "properties": None, "required": None}, "{}"),
    ({"type": "object", "properties": []}, "{}"),
    ({"type": None, "properties": {"city": CITY}}, '{"city": "Oslo"}'),
    ({"properties": {"city": None}}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY | {"description": None, "enum": None}}}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY}, "additionalProperties": None}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY}, "propertyNames": {}}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY}, "propertyNames": True}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY}, "propertyNames": {"type": "string"}}, '{"city": "Oslo"}'),
    ({"properties": {"n": {"type": "array", "items": None}}}, '{"n": [1]}'),
    ({"properties": {"n": {"type": "array", "uniqueItems": False}}}, '{"n": [1, 1]}'),
    ({"properties": {"n": {"type": "array", "minContains": 0}}}, '{"n": [1, 1]}'),
    ({"properties": {"city": CITY}, "dependentRequired": {}}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY}, "unevaluatedProperties": True}, '{"city": "Oslo"}'),
    ({"properties": {"city": CITY}, "$defs": None, "definitions": []}, '{"city": "Oslo"}'),
    ({"properties": {"city": {"anyOf": [CITY | {"format": "city"}]}}}, '{"city": "Oslo"}'),
    ({"properties": {"n": {"const": None}}}, '{"n": null}'),
    ({"properties": {"n": {"enum": [None]}}}, '{"n": null}'),
    *(
        ({"properties": {"x": {"type": "string", "format": name}}}, '{"x": "a"}')
        for name in ("byte", "binary", "password", "color", "regex", "uri-reference", "", None, 5)
    ),
    *(
        ({"properties": {"x": {"type": "integer", "format": name}}}, '{"x": 5}')
        for name in ("int32", "int64", "uint8")
    ),
]
FUNCTION = {"name": "f"}


@pytest.mark.parametrize(("schema", "arguments"), ODD)
def test_an_odd_schema_can_be_followed(schema: dict[str, Any], arguments: str) -> None:
    constraint = required_calls([Tool("f", None, schema)], parallel=False, think=None)
    assert follows(constraint, f'{{"name": "f", "arguments": {arguments}}}')


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_known_formats_are_followed(name: str) -> None:
    schema = {"properties": {"x": {"type": "string", "format": name}}, "required": ["x"]}
    constraint = required_calls([Tool("f", None, schema)], parallel=False, think=None)
    assert not follows(constraint, '{"name": "f", "arguments": {"x": "~ ~"}}')


KEYWORDS = st.sampled_from(
    ["uniqueItems", "format", "propertyNames", "minContains", "dependentRequired", "title"]
)
VALUES = st.sampled_from([False, "color", True, {}, {"type": "string"}, 0, "t"])
SCHEMAS = st.recursive(
    st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, {"const": None}, True]),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "format"]), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "additionalProperties": inner,
            "propertyNames": st.sampled_from([True, {}, {"type": "string"}]),
            "uniqueItems": st.just(False),
            "format": st.just("color"),
            "enum": st.lists(st.sampled_from([None, 1, "a"]), min_size=1, unique=True),
            "required": st.lists(st.sampled_from(["a", "format"]), unique=True),
        },
    ),
)
DOCUMENTS = st.recursive(
    st.sampled_from([None, 1, "a", True]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "format", "z"]), inner, max_size=2)
    ),
)


@given(SCHEMAS, DOCUMENTS)
def test_the_meaning_stays(schema: Any, document: Any) -> None:
    valid = jsonschema.Draft202012Validator(schema).is_valid(document)
    for changed in (without_nulls(schema), enforceable(schema)):
        assert jsonschema.Draft202012Validator(changed).is_valid(document) is valid


# -- in every API ----------------------------------------------------------------------------------

MESSAGES = [{"role": "user", "content": "Hello!"}]


def bodies(parameters: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Paths, bodies with two tools, and the name of the odd one's schema in errors."""
    good = {"type": "object", "properties": {"a": CITY}}
    pair = [("good", good), ("odd", parameters)]
    nested = [{"type": "function", "function": {"name": n, "parameters": s}} for n, s in pair]
    flat = [{"type": "function", "name": n, "parameters": s} for n, s in pair]
    of_anthropic = [{"name": n, "input_schema": s} for n, s in pair]
    chat = {"model": MODEL, "messages": MESSAGES}
    yield "/v1/chat/completions", chat | {"tools": nested}, "tools[1].function.parameters"
    yield "/api/chat", chat | {"tools": nested, "stream": False}, "tools[1].function.parameters"
    limited = chat | {"max_tokens": 9}
    yield "/v1/messages", limited | {"tools": of_anthropic}, "tools[1].input_schema"
    yield "/v1/responses", {"model": MODEL, "input": "Hello!", "tools": flat}, "tools[1].parameters"


@pytest.fixture
def http(shared_gateway: RunningGateway) -> Iterator[httpx2.Client]:
    with shared_gateway.http() as http:
        yield http


@pytest.mark.parametrize("schema", [schema for schema, _ in ODD[:12]])
def test_one_odd_tool_breaks_no_request(
    http: httpx2.Client, shared_scheduler: ScriptedScheduler, schema: dict[str, Any]
) -> None:
    for path, body, _ in bodies(schema):
        answer = http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        prompt = work_of(shared_scheduler.next(Submit)).prompt
        assert "null" not in str(prompt.messages) and "None" not in str(prompt.tools)


@pytest.mark.parametrize("kind", ["string", "array", ["string", "null"], 5])
def test_arguments_are_objects(http: httpx2.Client, kind: Any) -> None:
    for path, body, param in bodies({"type": kind}):
        answer = http.post(path, json=body)
        assert answer.status_code == 400, answer.text
        assert "Arguments are an object" in answer.text
        if path != "/v1/messages":
            assert param in answer.text
