"""What is known of the request that is being served, for its line in the log. No text of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import msgspec


@dataclass(slots=True)
class Served:
    """Filled while the request is served. Seconds are those of ``time.perf_counter``."""

    began: float
    client: str = ""  # the name of its key
    model: str = ""  # the id of the variant
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    submitted: float = 0.0  # when it was sent to the scheduler; 0: it was not
    first_output: float = 0.0  # when it came; 0: none has
    last_output: float = 0.0
    prompt_seconds: float = 0.0  # how long the worker read the prompt
    generation_seconds: float = 0.0  # and how long it generated after the first token
    counted_below: bool = False  # the scheduler counts it

    def fields(self) -> Iterator[tuple[str, str | int]]:
        """Those that are known, by their names in the log."""
        if self.client:
            yield "client", self.client
        if self.model:
            yield "model", self.model
        if self.last_output:
            yield "prompt_tokens", self.prompt_tokens
            yield "cached_tokens", self.cached_tokens
            yield "completion_tokens", self.completion_tokens
        elif self.submitted:  # the client left, or it failed
            yield "outcome", "unfinished"
        if self.first_output:
            yield "ttft_ms", round(1000 * (self.first_output - self.began))

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """Queue, prefill and decode: name, begin and end. None before the last output."""
        if not self.last_output:
            return
        decode = max(self.submitted, self.last_output - self.generation_seconds)
        prefill = max(self.submitted, decode - self.prompt_seconds)
        yield "queue", self.submitted, prefill
        yield "prefill", prefill, decode
        if self.generation_seconds:
            yield "decode", decode, self.last_output


class Finished(msgspec.Struct, frozen=True):
    """A request whose answer is over. ``traceparent``: the client's own, if it is one.

    ``whole``: the answer was sent to its end.
    """

    id: str
    method: str
    path: str
    status: int
    served: Served
    ended: float
    traceparent: str = ""
    whole: bool = True


# A task that is started for the request sees the same object.
_served: ContextVar[Served | None] = ContextVar("served", default=None)


def begin_serving(began: float) -> Served:
    served = Served(began)
    _served.set(served)
    return served


def served() -> Served | None:
    """The request that is being served; None outside of requests."""
    return _served.get()
