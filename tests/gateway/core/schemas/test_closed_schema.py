"""Which parts of a schema get an end, and that documents stay valid."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from cupola.gateway.core.schemas.closed_schema import LARGEST, closed

NAME = {"properties": {"name": {"type": "string"}}}
SHUT = NAME | {"additionalProperties": False}
INTEGER = {"type": "integer", "minimum": -LARGEST, "maximum": LARGEST}


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
        ({"type": "integer"}, INTEGER),
        ({"type": ["integer", "null"]}, INTEGER | {"type": ["integer", "null"]}),
        ({"type": "integer", "minimum": 0}, INTEGER | {"minimum": 0}),
        (
            {"type": "integer", "exclusiveMaximum": 9},
            {"type": "integer", "exclusiveMaximum": 9, "minimum": -LARGEST},
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
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "integer", "minimum": 2**60},
        {"type": "integer", "minimum": "x"},
        {"type": "integer", "multipleOf": 3},
        {"type": "integer", "const": 10**30},
        {"type": ["integer", "number"]},
        {"type": "number"},
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
