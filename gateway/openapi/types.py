"""JSON schemas in a few words, for people. Pure."""

from __future__ import annotations

import html
import json
from typing import Any

Schema = dict[str, Any]
MAX_CHOICES = 12
NULL = {"type": "null"}  # means "not given" everywhere, so the words leave it out
FAR = 2**31 - 1  # limits like this one say nothing


def name_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def words(schema: Schema) -> str:
    """What a value may be besides null, as HTML. Other schemas are links into the same page."""
    if "$ref" in schema:
        name = html.escape(name_of(schema["$ref"]))
        return f'<a href="#schema-{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _joined([words(choice) for choice in schema[key] if choice != NULL])
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return _joined([_literal(value) for value in schema["enum"][:MAX_CHOICES]])
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return _joined([each for each in kind if each != "null"])
    if kind == "array":
        items = words(schema["items"]) if schema.get("items") else "anything"
        return f"list of {_bracketed(items)}{_size(schema, 'minItems', 'maxItems')}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_bracketed(words(schema['additionalProperties']))}"
    return f"{kind}{_range(schema)}{_size(schema, 'minLength', 'maxLength')}"


def _joined(choices: list[str]) -> str:
    return " or ".join(dict.fromkeys(choices))


def _bracketed(text: str) -> str:
    return f"({text})" if " or " in text or "," in text else text


def _literal(value: object) -> str:
    return f"<code>{html.escape(json.dumps(value, ensure_ascii=False))}</code>"


def _range(schema: Schema) -> str:
    lowest, highest = schema.get("minimum", -FAR), schema.get("maximum", FAR)
    above = schema.get("exclusiveMinimum")
    parts = [f"above {above}"] if above is not None else []
    parts += [f"from {lowest}"] if lowest > -FAR else []
    parts += [f"to {highest}"] if highest < FAR else []
    return " " + " ".join(parts) if parts else ""


def _size(schema: Schema, least: str, most: str) -> str:
    fewest, limit = schema.get(least, 0), schema.get(most)
    if limit is not None:
        return f", at most {limit}"
    return ", not empty" if fewest else ""
