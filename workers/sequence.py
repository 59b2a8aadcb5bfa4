"""One answer inside the engine: its tokens, how much of them is in the cache, its text so far."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from cupola.scheduler.messages import FinishReason, Output, SamplingParams, TokenLogprob, Usage
from cupola.workers.logprobs import HeldLogprobs
from cupola.workers.sampling import Sampler
from cupola.workers.slots import Slot
from cupola.workers.text import Detokenizer, StopMatcher


@dataclass(slots=True)
class Job:
    """A request: one or more sequences over the same prompt."""

    request_id: str
    prompt_tokens: int
    open: int  # sequences that are not finished
    completion_tokens: int = 0
    cached_tokens: int | None = None  # of the first sequence that ran

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens or 0)


@dataclass(slots=True, eq=False)
class Sequence:
    """WAITING while ``slot`` is None, RUNNING until ``finish_reason`` is set, then FINISHED."""

    job: Job
    index: int  # which of the request's answers
    tokens: list[int]  # the prompt, then what was generated
    max_tokens: int  # tokens to generate at most
    end_tokens: Set[int]  # that end the answer
    params: SamplingParams
    sampler: Sampler
    detokenizer: Detokenizer
    stops: StopMatcher
    salt: str = ""
    prompt_logprobs: list[TokenLogprob] | None = None  # None: not wanted
    slot: Slot | None = None
    finish_reason: FinishReason | None = field(default=None, init=False)
    _held: HeldLogprobs = field(default_factory=HeldLogprobs, init=False)

    @property
    def pending(self) -> int:
        """Tokens whose keys and values are yet to be computed."""
        return len(self.tokens) - (self.slot.length if self.slot else 0)

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.job.prompt_tokens

    @property
    def reading(self) -> bool:
        """Whether the prompt is not in the cache yet."""
        return self.slot is not None and self.slot.length < self.job.prompt_tokens

    def advance(self, token: int, entry: TokenLogprob | None) -> Output | None:
        """Take the next token; what to tell the client, if anything."""
        self.tokens.append(token)
        self.job.completion_tokens += 1
        if self.sampler.penalties is not None:
            self.sampler.penalties.add(token)
        if token in self.end_tokens:
            by = token if token in self.params.stop_token_ids else None
            return self._end("", FinishReason.STOP, by)
        made = self.detokenizer.feed(token)
        if entry is not None:
            self._held.add(entry, made)
        if self.generated <= self.params.min_tokens:
            text, stop = made, None
        else:
            text, stop = self.stops.feed(made)
        if stop is not None:
            return self._finish(text, FinishReason.STOP, stop)
        if self.generated >= self.max_tokens:
            return self._end(text, FinishReason.LENGTH, None)
        return self._output(text)

    def _end(self, text: str, reason: FinishReason, by: int | None) -> Output:
        """The answer is over, so nothing needs to be held back; what was may hold a stop string."""
        rest, stop = self.stops.feed(self.detokenizer.flush())
        if stop is not None:
            return self._finish(text + rest, FinishReason.STOP, stop)
        return self._finish(text + rest + self.stops.flush(), reason, by)

    def _finish(self, text: str, reason: FinishReason, by: str | int | None) -> Output:
        self.finish_reason = reason
        self.job.open -= 1
        return Output(
            self.job.request_id,
            text,
            reason,
            self.job.usage if self.job.open == 0 else None,
            self.index,
            self._held.take(text, all_=not isinstance(by, str)),
            self._take_prompt_logprobs(),
            by,
        )

    def _output(self, text: str) -> Output | None:
        logprobs = self._held.take(text)
        prompt = self._take_prompt_logprobs()
        if not (text or logprobs or prompt):
            return None
        return Output(
            self.job.request_id, text, index=self.index, logprobs=logprobs, prompt_logprobs=prompt
        )

    def _take_prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        taken, self.prompt_logprobs = tuple(self.prompt_logprobs or ()), None
        return taken
