"""Which objects of a schema are closed, and that documents stay valid."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from cupola.gateway.schemas.closing import closed

NAME = {"properties": {"name": {"type": "string"}}}
SHUT = NAME | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (NAME, SHUT),
        ({"type": "array", "items": NAME}, {"type": "array", "items": SHUT}),
        ({"anyOf": [NAME, {"type": "null"}]}, {"anyOf": [SHUT, {"type": "null"}]}),
        (
            {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": NAME}},
            {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": SHUT}}
            | {"additionalProperties": False},
        ),
        (  # a property that is called as a keyword
            {"properties": {"properties": NAME}},
            {"properties": {"properties": SHUT}, "additionalProperties": False},
        ),
    ],
)
def test_closed(schema: Any, made: Any) -> None:
    assert closed(schema) == made


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "object"},
        {"const": NAME},
        {"enum": [NAME]},
        {"properties": {}},
        {"properties": None},
        NAME | {"additionalProperties": True},
        NAME | {"required": ["name", "age"]},
        NAME | {"patternProperties": {"^x": {}}},
        NAME | {"minProperties": 2},
        {"allOf": [NAME, {"properties": {"age": {"type": "integer"}}}]},
        {"oneOf": [NAME, {"type": "null"}]},
        NAME | {"anyOf": [{"properties": {"age": {}}, "required": ["age"]}]},
        {"$ref": "#/$defs/a", "required": ["age"], "$defs": {"a": NAME}},
        NAME | {"if": NAME, "then": NAME},
    ],
)
def test_left_as_it_is(schema: Any) -> None:
    assert closed(schema) == schema


def test_what_is_left_open_has_documents() -> None:
    both = {"allOf": [NAME, {"properties": {"age": {"type": "integer"}}, "required": ["age"]}]}
    jsonschema.validate({"name": "x", "age": 1}, closed(both))
