"""How bodies of requests are checked: types are exact, and no known parameter is ignored.

A parameter is honoured, or refused by its name. It is refused where it is misspelled, where its
value is not allowed, and where it asks for something that this service does not do (``refused``;
``foreign_fields`` has those of other servers). Fields that no API knows are accepted, because
clients send fields of their own. The type of an
error becomes its code.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic_core import PydanticCustomError, core_schema

from cupola.gateway.http import foreign_fields
from cupola.gateway.http.parameter_docs import MEANINGS

UNSUPPORTED = "unsupported_parameter"
UNKNOWN = "unknown_parameter"
INVALID = "invalid_value"
MISSPELLED = 0.8  # how alike two names are that are taken for one
# Comparing names takes time, in which nobody else is served.
MAX_NAME = 64  # no parameter has a name as long
MAX_LOOKED_AT = 100  # unknown names of one object
OWN_CODES = frozenset({UNSUPPORTED, UNKNOWN, INVALID})


def unsupported(param: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(UNSUPPORTED, "{message}", {"message": message, "param": param})


def invalid(message: str, param: str | None = None) -> PydanticCustomError:
    return PydanticCustomError(INVALID, "{message}", {"message": message, "param": param})


class Refused(NamedTuple):
    """A known parameter that is refused where ``asks`` is true of its value."""

    param: str
    asks: Callable[[Any], bool]
    hint: str


def _fail_fast(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in ("list", "tuple", "set", "frozenset"):
            schema["fail_fast"] = True
        schema = tuple(schema.values())
    if isinstance(schema, (list, tuple)):
        for part in schema:
            _fail_fast(part)


class Body(BaseModel):
    """Base of everything in a request. Types are exact: true is no number, and "1" is none.

    What checks a body is built when the first one comes, so that a service starts without it.
    """

    model_config = ConfigDict(
        strict=True, extra="allow", allow_inf_nan=False, frozen=True, defer_build=True
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Lists are read up to their first wrong element: only the first error is told, and
        collecting those of a million takes minutes.
        """
        schema = handler(source)
        _fail_fast(schema)
        return schema


def _meant_by(param: str, body: type[BaseModel]) -> str | None:
    """The known parameter that an unknown one looks like."""
    if len(param) > MAX_NAME:
        return None
    return _nearest(param, body)


@lru_cache(maxsize=4096)
def _nearest(param: str, body: type[BaseModel]) -> str | None:
    near = difflib.get_close_matches(param, body.model_fields, n=1, cutoff=MISSPELLED)
    return near[0] if near else None


def _describe_parameters(schema: dict[str, Any], body: type[Any]) -> None:
    """Write into a schema what each parameter means, and what the service does with it."""
    for param in MEANINGS.keys() & schema["properties"].keys():
        schema["properties"][param]["description"] = MEANINGS[param]
    for param, _, hint in body.refused:
        if param in schema["properties"]:
            schema["properties"][param]["description"] = f"Refused: {hint}."
            schema["properties"][param]["deprecated"] = True
    for param in body.labels & schema["properties"].keys():
        schema["properties"][param]["description"] = "Taken, and changes nothing in the answer."


class Endpoint(Body):
    """Base of the body of an endpoint."""

    model_config = ConfigDict(json_schema_extra=_describe_parameters)

    refused: ClassVar[tuple[Refused, ...]] = ()
    labels: ClassVar[frozenset[str]] = frozenset()  # taken, and changing nothing in the answer

    @model_validator(mode="after")
    def _known(self) -> Endpoint:
        for param, value in islice((self.model_extra or {}).items(), MAX_LOOKED_AT):
            if value is None or param in foreign_fields.HARMLESS:
                continue
            if foreign := foreign_fields.REFUSED.get(param):
                if foreign.asks(value):
                    raise unsupported(param, f"'{param}' is not supported here: {foreign.hint}")
            elif meant := _meant_by(param, type(self)):
                message = f"Unknown parameter: '{param}'; did you mean '{meant}'?"
                raise PydanticCustomError(
                    UNKNOWN, "{message}", {"message": message, "param": param}
                )
        return self

    @model_validator(mode="after")
    def _supported(self) -> Endpoint:
        given = self.model_fields_set
        for param, asks, hint in self.refused:
            if param not in given:
                continue
            value = getattr(self, param)
            if value is not None and asks(value):
                raise unsupported(param, f"'{param}' is not supported here: {hint}")
        return self
