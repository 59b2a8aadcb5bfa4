"""The body of POST /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from cupola.gateway.core.fields import MAX_INPUTS, Count, KeepAlive, Model, Natural, Ttl
from cupola.gateway.http.validation import Endpoint, invalid
from cupola.scheduler.protocol.tasks import Text, Tokens


def check_input(given: Any) -> Any:
    """One text, texts, the tokens of one text, or those of several."""
    if given == "" or given == []:
        raise invalid("'input' is empty")
    if isinstance(given, list):
        if len(given) > MAX_INPUTS and not isinstance(given[0], int):
            raise invalid(f"'input' has {len(given)} texts, and {MAX_INPUTS} is the most")
        if any(part == "" or part == [] for part in given):
            raise invalid("'input' holds an empty text")
    return given


class EmbeddingsRequest(Endpoint):
    labels: ClassVar[frozenset[str]] = frozenset({"user"})

    model: Model
    input: Annotated[
        str | list[str] | list[Natural] | list[list[Natural]],
        BeforeValidator(check_input),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None
    parse_special: bool | None = None
    truncate: bool | None = None  # cut texts that are too long, instead of refusing them
    ttl: Ttl | None = None
    keep_alive: KeepAlive | None = None

    @model_validator(mode="after")
    def _one_time(self) -> EmbeddingsRequest:
        if self.ttl is not None and self.keep_alive is not None:
            raise invalid("'ttl' and 'keep_alive' exclude each other", "keep_alive")
        return self

    @property
    def texts(self) -> tuple[Text | Tokens, ...]:
        given, parse = self.input, self.parse_special is not False
        if isinstance(given, str):
            return (Text(given, parse),)
        if isinstance(given[0], int):
            return (Tokens(tuple(part for part in given if isinstance(part, int))),)
        return tuple(
            Text(part, parse) if isinstance(part, str) else Tokens(tuple(part))
            for part in given
            if not isinstance(part, int)
        )

    @property
    def seconds_loaded(self) -> float | None:
        return self.keep_alive if self.ttl is None else self.ttl
