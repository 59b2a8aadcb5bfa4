"""The query parameters of the endpoints of stored responses."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator
from starlette.requests import Request

from cupola.gateway.core.fields import MAX_INT
from cupola.gateway.http.validation import Endpoint, invalid

Q = TypeVar("Q", bound=Endpoint)


class PageQuery(Endpoint):
    limit: Annotated[int, Field(ge=1, le=100, strict=False)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class ShowQuery(Endpoint):
    stream: Literal["true", "false"] | None = None
    starting_after: Annotated[int, Field(ge=-1, le=MAX_INT, strict=False)] | None = None
    include_obfuscation: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ShowQuery:
        if self.starting_after is not None and self.stream != "true":
            raise invalid("'starting_after' needs 'stream=true'", "starting_after")
        return self

    @property
    def after(self) -> int:
        """The number of the last event that the client has; -1: it has none."""
        return -1 if self.starting_after is None else self.starting_after


def query(kind: type[Q], request: Request) -> Q:
    """``include`` is left out: all that there is of a response is stored and shown."""
    given = {k: v for k, v in request.query_params.items() if k.partition("[")[0] != "include"}
    return kind.model_validate(given)
