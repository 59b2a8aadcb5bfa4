"""One request inside the engine: its tokens, how much of them is in the cache, its text so far."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from cupola.scheduler.messages import FinishReason, Output, Usage
from cupola.workers.sampling import Sampler
from cupola.workers.text import Detokenizer, StopMatcher


@dataclass(slots=True)
class Sequence:
    """WAITING while ``slot`` is None, RUNNING until ``finish_reason`` is set, then FINISHED."""

    request_id: str
    tokens: list[int]  # the prompt, then what was generated
    prompt_tokens: int
    max_tokens: int  # tokens to generate at most
    end_tokens: Set[int]  # that end the answer; empty with ignore_eos
    sampler: Sampler
    detokenizer: Detokenizer
    stops: StopMatcher
    slot: int | None = None
    cached: int = 0  # tokens whose keys and values are in the slot
    finish_reason: FinishReason | None = field(default=None, init=False)

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.cached

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    def advance(self, token: int) -> Output | None:
        """Take the next token; what to tell the client, if anything."""
        self.tokens.append(token)
        if token in self.end_tokens:
            return self._finish(self._rest(), FinishReason.STOP)
        text, stopped = self.stops.feed(self.detokenizer.feed(token))
        if stopped:
            return self._finish(text, FinishReason.STOP)
        if self.generated >= self.max_tokens:
            return self._finish(*self._last(text))
        return Output(self.request_id, text) if text else None

    def _rest(self) -> str:
        """Text still held back when the model itself ends its answer."""
        text, stopped = self.stops.feed(self.detokenizer.flush())
        return text if stopped else text + self.stops.flush()

    def _last(self, text: str) -> tuple[str, FinishReason]:
        rest, stopped = self.stops.feed(self.detokenizer.flush())
        if stopped:
            return text + rest, FinishReason.STOP
        return text + rest + self.stops.flush(), FinishReason.LENGTH

    def _finish(self, text: str, reason: FinishReason) -> Output:
        self.finish_reason = reason
        return Output(self.request_id, text, reason, Usage(self.prompt_tokens, self.generated))
