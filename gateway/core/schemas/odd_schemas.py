"""JSON Schemas as generators really write them, made into what the grammar's compiler takes. Pure.

Serializers write ``null`` or ``[]`` where a keyword is not set. A ``format`` that the compiler does
not know is an annotation, as JSON Schema says. Some keywords allow everything with certain values.
Nothing else is left out: what cannot be enforced is an error where a schema must be followed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

# Keywords with a schema for each of some names, with a list of schemas, and with one schema.
_NAMED = (
    "properties", "$defs", "definitions", "patternProperties", "dependentSchemas",
)  # fmt: skip
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    "items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties",
    "unevaluatedProperties", "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
_MAPPINGS = frozenset({*_NAMED, "dependentRequired", "dependencies"})
_LISTS = frozenset({"required", "enum", *_LISTED})
_VALUES = frozenset({"const", "default", "example"})  # null is a value of these
# Those that llguidance can enforce.
FORMATS = frozenset(
    {
        "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
    }
)  # fmt: skip
# What these say of a schema changes nothing about what it allows.
_ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "example", "examples", "deprecated", "readOnly",
        "writeOnly", "$comment",
    }
)  # fmt: skip


def without_nulls(schema: Any) -> Any:
    """The schema without keywords that are not set: ``null``, or ``[]`` for a mapping."""
    return _changed(schema, _is_unset)


def enforceable(schema: Any) -> Any:
    """Without them, and without what does not restrict anything."""
    return _changed(_changed(schema, _is_unset), _is_vacuous)


def describes_objects(schema: Schema) -> bool:
    """Whether an object can be valid, as far as the type of the schema says."""
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return kind is None or "object" in kinds


def _is_unset(keyword: str, value: Any, _: Schema) -> bool:
    if value is None:
        return keyword not in _VALUES
    # An empty mapping of PHP is written as a list, and an empty list of Lua as a mapping.
    return (keyword in _MAPPINGS and value == []) or (keyword in _LISTS and value == {})


def _is_vacuous(keyword: str, value: Any, schema: Schema) -> bool:
    match keyword:
        case "format":
            return not isinstance(value, str) or value not in FORMATS
        case "propertyNames":
            return _allows_all(value) or _without_annotations(value) == {"type": "string"}
        case "unevaluatedProperties" | "unevaluatedItems":
            return _allows_all(value)
        case "uniqueItems":
            return value is False
        case "dependentRequired" | "dependentSchemas" | "dependencies" | "patternProperties":
            return bool(value == {})
        case "minContains" | "maxContains":
            return "contains" not in schema
    return False


def _allows_all(schema: Any) -> bool:
    return schema is True or _without_annotations(schema) == {}


def _without_annotations(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {key: value for key, value in schema.items() if key not in _ANNOTATIONS}


def _changed(schema: Any, unwanted: Callable[[str, Any, Schema], bool]) -> Any:
    """The schema without the unwanted keywords, wherever a schema can be in it."""
    if not isinstance(schema, dict):
        return {} if schema is None else schema
    result = {key: value for key, value in schema.items() if not unwanted(key, value, schema)}
    for keyword in _NAMED:
        if isinstance(inner := result.get(keyword), dict):
            result[keyword] = {name: _changed(part, unwanted) for name, part in inner.items()}
    for keyword in (*_LISTED, *_SINGLE):
        inner = result.get(keyword)
        if isinstance(inner, list):
            result[keyword] = [_changed(part, unwanted) for part in inner]
        elif isinstance(inner, dict):
            result[keyword] = _changed(inner, unwanted)
    return result
