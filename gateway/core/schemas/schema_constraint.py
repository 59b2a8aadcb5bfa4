"""The constraint that a client's JSON Schema puts on an answer."""

from __future__ import annotations

import json
from typing import Any

from cupola.gateway.core.schemas.closed_schema import closed
from cupola.gateway.core.schemas.odd_schemas import enforceable
from cupola.gateway.http.validation import invalid
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind

MAX_SCHEMA = 256 * 1024  # characters
MAX_NESTING = 64


def schema_constraint(schema: Any, param: str) -> Constraint:
    """``schema``: an object, or its JSON. ``param``: what the client calls it, for errors.

    Raises an error of validation.
    """
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            raise invalid("The schema is not JSON", param) from None
    if not isinstance(schema, (dict, bool)):
        raise invalid("A JSON Schema is an object", param)
    if _deeper_than(schema, MAX_NESTING):
        raise invalid(f"The schema is nested more than {MAX_NESTING} levels deep", param)
    source = json.dumps(closed(enforceable(schema)), ensure_ascii=False)
    if len(source) > MAX_SCHEMA:
        raise invalid(f"The schema is longer than {MAX_SCHEMA} characters", param)
    return Constraint(ConstraintKind.JSON_SCHEMA, source)


def _deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        level = inner
    return True
