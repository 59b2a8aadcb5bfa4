"""One answer inside the engine: how its tokens are chosen, and its text so far."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import takewhile

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.outputs import FinishReason, Output, TokenLogprob
from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.engine.sequence import Sequence
from cupola.workers.grammar.constraints import Grammar, Matcher
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text import Detokenizer, StopMatcher
from cupola.workers.sampling.logprobs import HeldLogprobs
from cupola.workers.sampling.sampling import Sampler
from cupola.workers.speculation.draft import Draft
from cupola.workers.speculation.drafter import Drafter


@dataclass(slots=True, eq=False, kw_only=True)
class Answer(Sequence):
    """One answer to a request. ``index``: which of the request's answers."""

    end_tokens: Set[int]  # that end the answer
    params: SamplingParams
    sampler: Sampler
    detokenizer: Detokenizer
    stops: StopMatcher
    grammar: Future[Grammar] | None = None  # what the answer must follow, once it is compiled
    drafter: Drafter | None = None  # None: it has no draft tokens
    matcher: Matcher | None = field(default=None, init=False)
    _held: HeldLogprobs = field(default_factory=HeldLogprobs, init=False)
    _unreported: int = field(default=0, init=False)  # tokens that no output has counted yet

    @property
    def admissible(self) -> bool:
        """Whether it can run or be refused: its grammar is compiled, or that has failed."""
        return not self.fetching and (self.grammar is None or self.grammar.done())

    @property
    def refusal(self) -> RequestError | None:
        """Why the grammar cannot be followed; None: it can be, or it is not compiled yet."""
        if self.grammar is None or not self.grammar.done() or self.matcher is not None:
            return None
        try:
            self.matcher = self.grammar.result().matcher()
        except RequestError as error:
            return error
        return None

    @property
    def failure(self) -> RequestError | None:
        """Why it cannot go on; None: it can."""
        if self.broken is not None:
            return RequestError(ErrorCode.INTERNAL, self.broken)
        if self.matcher is not None and self.matcher.failure is not None:
            return RequestError(ErrorCode.INVALID_REQUEST, self.matcher.failure, "constraint")
        return None

    def wanted_logits(self, count: int, draft: int) -> int:
        """See ``Sequence.wanted_logits``."""
        if self.prompt_logprobs is not None and self.reading:
            return count
        return 1 + draft if count == self.pending else 0

    # -- draft tokens ------------------------------------------------------------------------------

    def draft(self, limit: int, probability: float) -> Draft:
        """At most ``limit`` tokens that may follow the pending one. See ``Drafter.draft``."""
        left = min(limit, self.max_tokens - self.generated - 1)
        if self.drafter is None:
            return Draft()
        return self.drafter.draft(left, probability, self.matcher)

    def accepts(self, draft: tuple[int, ...], depth: int) -> bool:
        """Whether the last token equals the draft token at ``depth`` and another token may follow.

        It counts the draft token as accepted.
        """
        selected = self._selected
        if self.finish_reason is not None or self.broken is not None:
            return False
        if depth >= len(draft) or len(selected) != depth + 1:
            return False
        self.job.accepted_tokens += selected[depth] == draft[depth]
        return selected[depth] == draft[depth]

    def accepted(self, draft: tuple[int, ...]) -> int:
        """How many draft tokens were right. Their keys and values are good."""
        pairs = zip(self._selected, draft, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    @property
    def _selected(self) -> list[int]:
        """The tokens of this step."""
        return self.tokens[self.slot.length :] if self.slot is not None else []

    def advance(self, token: int, entry: TokenLogprob | None) -> Output | None:
        """Add the next token. Returns the output for the client, if there is one now."""
        self.tokens.append(token)
        self.job.completion_tokens += 1
        self._unreported += 1
        if self.sampler.penalties is not None:
            self.sampler.penalties.add(token)
        if self.drafter is not None:
            self.drafter.add(token)
        if token in self.end_tokens:
            by = token if token in self.params.stop_token_ids else None
            return self._end("", FinishReason.STOP, by)
        if self.matcher is not None:
            self.matcher.accept(token)
        decoded = self.detokenizer.feed(token)
        if entry is not None:
            self._held.add(entry, decoded)
        if self.generated <= self.params.min_tokens:
            text, stop = decoded, None
        else:
            text, stop = self.stops.feed(decoded)
        if stop is not None:
            return self._finish(text, FinishReason.STOP, stop)
        if self.matcher is not None and self.matcher.complete:
            return self._end(text, FinishReason.STOP, None)
        if self.generated >= self.max_tokens:
            return self._end(text, FinishReason.LENGTH, None)
        return self._output(text)

    def _end(self, text: str, reason: FinishReason, by: int | None) -> Output:
        """End the answer. Text that was held back is sent, unless it has a stop string."""
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
            self.take_unreported(),
            room=self._room,
            prompt_usage=self.job.take_prompt_usage(),
        )

    def _output(self, text: str) -> Output | None:
        logprobs = self._held.take(text)
        prompt = self._take_prompt_logprobs()
        if not (text or logprobs or prompt) and self.job.has_output:
            return None
        return Output(
            self.job.request_id,
            text,
            index=self.index,
            logprobs=logprobs,
            prompt_logprobs=prompt,
            made=self.take_unreported(),
            room=self._room,
            prompt_usage=self.job.take_prompt_usage(),
        )

    @property
    def _room(self) -> int:
        """How many tokens fit, for the request's first output; 0: no more were asked for."""
        wanted = self.params.max_tokens or 0
        return self.max_tokens if wanted > self.max_tokens and not self.job.has_output else 0

    def take_unreported(self) -> int:
        """The tokens that no output has told of; from now on they count as told."""
        taken, self._unreported = self._unreported, 0
        return taken

    def close(self) -> None:
        if self.drafter is not None:
            self.drafter.close()

    def _take_prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        taken, self.prompt_logprobs = tuple(self.prompt_logprobs or ()), None
        return taken
