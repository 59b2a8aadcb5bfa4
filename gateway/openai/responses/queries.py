"""The query parameters of the endpoints of stored responses."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field
from starlette.requests import Request

from cupola.gateway.http.validation import Endpoint, Refused

Q = TypeVar("Q", bound=Endpoint)


class PageQuery(Endpoint):
    limit: Annotated[int, Field(ge=1, le=100, strict=False)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class ShowQuery(Endpoint):
    refused: ClassVar[tuple[Refused, ...]] = (
        Refused("stream", lambda wanted: wanted != "false", "poll until 'status' is final"),
        Refused("starting_after", lambda _: True, "streams are not stored; fetch the whole"),
    )

    stream: str | None = None
    starting_after: str | None = None
    include_obfuscation: str | None = None


def query(kind: type[Q], request: Request) -> Q:
    """``include`` is left out: all that there is of a response is stored and shown."""
    given = {k: v for k, v in request.query_params.items() if k.partition("[")[0] != "include"}
    return kind.model_validate(given)
