"""Objects that list their properties have no others, unless their JSON Schema says so. Pure.

A schema that says nothing about further properties allows any, and a small model then goes on
adding some until its tokens are used up. Every document of the closed schema is one of that given.
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
_NAMED = ("properties", "$defs", "definitions")  # keywords with a schema for each of some names
_LISTED = ("anyOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def closed(schema: Any) -> Any:
    """The schema with ``additionalProperties: false`` wherever that leaves it its meaning."""
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
    made = dict(schema)
    for keyword in _NAMED:
        if isinstance(inner := schema.get(keyword), dict):
            made[keyword] = {name: _close(part) for name, part in inner.items()}
    for keyword in _LISTED:
        if isinstance(inner := schema.get(keyword), list):
            made[keyword] = [_close(part) for part in inner]
    for keyword in _SINGLE:
        if keyword in schema:
            made[keyword] = _close(schema[keyword])
    if schema.get("properties") and not is_open(schema):
        made["additionalProperties"] = False
    return made


def _required(schema: dict[str, Any]) -> set[str]:
    names = schema.get("required")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
