"""One answer inside the engine: its tokens, how much of them is in the cache, its text so far."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import takewhile

from cupola.scheduler.protocol.messages import (
    ErrorCode,
    FinishReason,
    Output,
    SamplingParams,
    TokenLogprob,
    Usage,
)
from cupola.workers.engine.drafting import Drafter, Guess
from cupola.workers.engine.slots import Slot
from cupola.workers.grammar.constraints import Grammar, Matcher
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text import Detokenizer, StopMatcher
from cupola.workers.sampling.logprobs import HeldLogprobs
from cupola.workers.sampling.sampling import Sampler


@dataclass(slots=True)
class Job:
    """A request: one or more sequences over the same prompt."""

    request_id: str
    prompt_tokens: int
    open: int  # sequences that are not finished
    completion_tokens: int = 0
    cached_tokens: int | None = None  # of the first sequence that ran
    drafted_tokens: int = 0
    accepted_tokens: int = 0  # of those drafted

    @property
    def usage(self) -> Usage:
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            self.cached_tokens or 0,
            self.accepted_tokens,
            self.drafted_tokens - self.accepted_tokens,
        )


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
    cache_salt: str = ""
    long: bool = False  # read with the model's second rotary table
    prompt_logprobs: list[TokenLogprob] | None = None  # None: not wanted
    grammar: Future[Grammar] | None = None  # what the answer must follow, once it is compiled
    drafter: Drafter | None = None  # None: nothing is guessed
    matcher: Matcher | None = field(default=None, init=False)
    slot: Slot | None = None
    finish_reason: FinishReason | None = field(default=None, init=False)
    broken: str | None = field(default=None, init=False)  # what went wrong here, if anything did
    _held: HeldLogprobs = field(default_factory=HeldLogprobs, init=False)
    _untold: int = field(default=0, init=False)  # tokens of which no output has told yet

    @property
    def cached(self) -> int:
        """Tokens whose keys and values are computed."""
        return self.slot.length if self.slot else 0

    @property
    def salt(self) -> str:
        """Sequences share cached keys and values only with those of the same salt."""
        return self.cache_salt + "\0long" if self.long else self.cache_salt

    def outgrows(self, short: int) -> bool:
        """Whether it is too long for a table that serves so many tokens, and read with it."""
        return not self.long and len(self.tokens) > short

    @property
    def pending(self) -> int:
        """Tokens whose keys and values are yet to be computed."""
        return len(self.tokens) - self.cached

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.job.prompt_tokens

    @property
    def reading(self) -> bool:
        """Whether the prompt is not in the cache yet."""
        return self.slot is not None and self.slot.length < self.job.prompt_tokens

    @property
    def steady(self) -> bool:
        """Whether the same request is expected to have the same answer again."""
        return self.params.seed is not None or self.params.temperature == 0

    @property
    def admissible(self) -> bool:
        """Whether it can run, or be refused: its grammar is compiled or has failed to."""
        return self.grammar is None or self.grammar.done()

    @property
    def refusal(self) -> RequestError | None:
        """What the compiler has against the grammar; None: it can be followed, or is not ready."""
        if self.grammar is None or not self.grammar.done() or self.matcher is not None:
            return None
        try:
            self.matcher = self.grammar.result().matcher()
        except RequestError as error:
            return error
        return None

    @property
    def failure(self) -> RequestError | None:
        """Why it cannot go on."""
        if self.broken is not None:
            return RequestError(ErrorCode.INTERNAL, self.broken)
        if self.matcher is not None and self.matcher.failure is not None:
            return RequestError(ErrorCode.INVALID_REQUEST, self.matcher.failure, "constraint")
        return None

    # -- guesses -----------------------------------------------------------------------------------

    def guess(self, limit: int, likely: float) -> Guess:
        """Tokens that may follow the pending one, if they are so ``likely``."""
        left = min(limit, self.max_tokens - self.generated - 1)
        return self.drafter.guess(left, likely) if self.drafter is not None else Guess()

    def accepts(self, draft: tuple[int, ...], depth: int) -> bool:
        """Whether the token drawn last is the guess at ``depth``, and another one may follow."""
        drawn = self._drawn
        if self.finish_reason is not None or self.broken is not None:
            return False
        if depth >= len(draft) or len(drawn) != depth + 1:
            return False
        self.job.accepted_tokens += drawn[depth] == draft[depth]
        return drawn[depth] == draft[depth]

    def right(self, draft: tuple[int, ...]) -> int:
        """How many guesses were right: their keys and values are good."""
        pairs = zip(self._drawn, draft, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    @property
    def _drawn(self) -> list[int]:
        """The tokens of this step."""
        return self.tokens[self.slot.length :] if self.slot is not None else []

    def advance(self, token: int, entry: TokenLogprob | None) -> Output | None:
        """Take the next token; what to tell the client, if anything."""
        self.tokens.append(token)
        self.job.completion_tokens += 1
        self._untold += 1
        if self.sampler.penalties is not None:
            self.sampler.penalties.add(token)
        if self.drafter is not None:
            self.drafter.add(token)
        if token in self.end_tokens:
            by = token if token in self.params.stop_token_ids else None
            return self._end("", FinishReason.STOP, by)
        if self.matcher is not None:
            self.matcher.accept(token)
        made = self.detokenizer.feed(token)
        if entry is not None:
            self._held.add(entry, made)
        if self.generated <= self.params.min_tokens:
            text, stop = made, None
        else:
            text, stop = self.stops.feed(made)
        if stop is not None:
            return self._finish(text, FinishReason.STOP, stop)
        if self.matcher is not None and self.matcher.over:
            return self._end(text, FinishReason.STOP, None)
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
            self._take_untold(),
        )

    def _output(self, text: str) -> Output | None:
        logprobs = self._held.take(text)
        prompt = self._take_prompt_logprobs()
        if not (text or logprobs or prompt):
            return None
        return Output(
            self.job.request_id,
            text,
            index=self.index,
            logprobs=logprobs,
            prompt_logprobs=prompt,
            made=self._take_untold(),
        )

    def _take_untold(self) -> int:
        taken, self._untold = self._untold, 0
        return taken

    def _take_prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        taken, self.prompt_logprobs = tuple(self.prompt_logprobs or ()), None
        return taken
