"""The JSON schemas of bodies and answers, as components that refer to each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

Schema = dict[str, Any]
_REF = "#/components/schemas/"


class _Untitled(GenerateJsonSchema):
    """A field's title would only be its name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Components:
    """``kinds``: pydantic models, and types that msgspec encodes."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        given = list(dict.fromkeys(kinds))
        models = [kind for kind in given if _is_model(kind)]
        others = [kind for kind in given if not _is_model(kind)]
        read = models_json_schema(
            [(model, "validation") for model in models],
            ref_template=_REF + "{model}",
            schema_generator=_Untitled,
        )
        schemas, answers = msgspec.json.schema_components(others, ref_template=_REF + "{name}")
        bodies: dict[str, JsonSchemaValue] = read[1].get("$defs", {})
        if both := bodies.keys() & answers.keys():
            raise ValueError(f"two types are called {min(both)}")
        self.schemas: Schema = dict(sorted({**bodies, **answers}.items()))
        for schema in self.schemas.values():
            if "description" in schema:  # a docstring
                schema["description"] = " ".join(schema["description"].replace("``", "`").split())
        self._of: dict[Any, Schema] = dict(zip(others, schemas, strict=True))
        self._of |= {model: read[0][(model, "validation")] for model in models}

    def of(self, kind: Any) -> Schema:
        """A schema, or a reference to one."""
        return self._of[kind]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
