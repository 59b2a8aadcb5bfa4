"""What a JSON Schema leaves open and small models never end: further properties and digits. Pure.

A schema that says nothing about further properties allows any, one that sets an integer no bounds
allows any number of digits, and a small model goes on until its tokens are used up. So objects that
list their properties have no others, and integers are those that every reader of JSON holds
exactly, unless the schema says more. Every document of the closed schema is one of that given.
"""

from __future__ import annotations

from typing import Any

# What a schema says with these is not about each of its parts alone, so none is changed.
_TOGETHER = frozenset({"allOf", "oneOf", "not", "if", "dependentSchemas", "$dynamicRef"})
_ELSEWHERE = frozenset({"$ref", "anyOf"})  # of properties that are listed in another place
# An object with one of these says more about its properties than which they are.
_OPEN = _TOGETHER | _ELSEWHERE | {
    "additionalProperties", "unevaluatedProperties", "patternProperties", "propertyNames",
    "minProperties",
}  # fmt: skip
# An integer with one of these needs no bounds, or not these.
_BOUND = frozenset({"multipleOf", "enum", "const", "format"})
LARGEST = 2**53 - 1
_LOW, _HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_NAMED = ("properties", "$defs", "definitions")  # keywords with a schema for each of some names
_LISTED = ("anyOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def closed(schema: Any) -> Any:
    """The schema with an end to what it leaves open, wherever that leaves it its meaning."""
    return schema if _combines(schema) else _close(schema)


def is_open(schema: dict[str, Any]) -> bool:
    """Whether the schema of an object has something to say about properties it does not list."""
    listed = schema.get("properties")
    if not isinstance(listed, dict) or not _OPEN.isdisjoint(schema):
        return True
    return not _required(schema) <= set(listed)


def _combines(schema: Any) -> bool:
    """Whether anywhere in it one object is described in several places."""
    level = [schema]
    while level:
        node = level.pop()
        if isinstance(node, dict):
            if not _TOGETHER.isdisjoint(node):
                return True
            if not _ELSEWHERE.isdisjoint(node) and not {"properties", "required"}.isdisjoint(node):
                return True
            if set(node) >= _ELSEWHERE:
                return True
            level += node.values()
        elif isinstance(node, list):
            level += node
    return False


def _close(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for keyword in _NAMED:
        if isinstance(inner := schema.get(keyword), dict):
            result[keyword] = {name: _close(part) for name, part in inner.items()}
    for keyword in _LISTED:
        if isinstance(inner := schema.get(keyword), list):
            result[keyword] = [_close(part) for part in inner]
    for keyword in _SINGLE:
        if keyword in schema:
            result[keyword] = _close(schema[keyword])
    if schema.get("properties") and not is_open(schema):
        result["additionalProperties"] = False
    return result | _bounds(schema)


def _bounds(schema: dict[str, Any]) -> dict[str, int]:
    """Those that an integer lacks."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "integer" not in kinds or "number" in kinds or not _BOUND.isdisjoint(schema):
        return {}
    given = [schema[name] for name in (*_LOW, *_HIGH) if name in schema]
    if not all(isinstance(limit, (int, float)) and abs(limit) < LARGEST for limit in given):
        return {}
    low = {} if any(name in schema for name in _LOW) else {"minimum": -LARGEST}
    high = {} if any(name in schema for name in _HIGH) else {"maximum": LARGEST}
    return low | high


def _required(schema: dict[str, Any]) -> set[str]:
    names = schema.get("required")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
