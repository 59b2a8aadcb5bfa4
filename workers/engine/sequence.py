"""Tokens that run in a slot: an answer (``answer``), or a fork that scores options (``fork``)."""

from __future__ import annotations

from collections.abc import Sequence as Several
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Turn
from cupola.scheduler.protocol.outputs import FinishReason, Output, TokenLogprob, Usage
from cupola.scheduler.waiting.lane import class_of
from cupola.workers.model.backend import RequestError
from cupola.workers.slots.prefix_store import Fetched
from cupola.workers.slots.slot_table import Slot
from cupola.workers.speculation.draft import Draft

# Which requests must have the same answer again: those with a seed or at temperature 0, all, none.
Reproducible = Literal["asked", "always", "no"]


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
    has_output: bool = False
    wants_timings: bool = False  # with every output
    wants_progress: bool = False  # while its prompt is read
    turn: Turn = ANY_TURN

    @property
    def usage(self) -> Usage:
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            self.cached_tokens or 0,
            self.accepted_tokens,
            self.drafted_tokens - self.accepted_tokens,
        )

    def take_prompt_usage(self) -> Usage | None:
        """The usage so far, for the first output of the request: then the prompt has been read."""
        if self.has_output:
            return None
        self.has_output = True
        return self.usage


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """WAITING while ``slot`` is None, RUNNING until ``finish_reason`` is set, then FINISHED."""

    job: Job
    index: int  # which of the request's sequences
    tokens: list[int]  # the prompt, then what follows it
    max_tokens: int  # tokens behind the prompt at most
    cache_salt: str = ""
    reproducible: bool = False  # the same request must have the same answer again
    long: bool = False  # read with the model's second rotary table
    prompt_logprobs: list[TokenLogprob] | None = None  # None: not wanted
    slot: Slot | None = None
    fetched: Future[Fetched] | None = None  # what the disk has of its tokens, while it is read
    finish_reason: FinishReason | None = field(default=None, init=False)
    broken: str | None = field(default=None, init=False)  # what went wrong here, if anything did

    @property
    def client(self) -> str:
        """Whose it is."""
        return self.job.turn.client

    @property
    def rank(self) -> int:
        """Its class in the order of service."""
        return class_of(self.job.turn.priority)

    @property
    def cached(self) -> int:
        """How many tokens have keys and values in the cache."""
        return self.slot.length if self.slot else 0

    @property
    def salt(self) -> str:
        """Sequences share cached keys and values only with those of the same salt."""
        return self.cache_salt + "\0long" if self.long else self.cache_salt

    def outgrows(self, short: int) -> bool:
        """Whether it is read with the first rotary table and longer than its ``short`` tokens."""
        return not self.long and len(self.tokens) > short

    @property
    def pending(self) -> int:
        """How many tokens have no keys and values yet."""
        return len(self.tokens) - self.cached

    @property
    def to_read(self) -> int:
        """How many tokens of its prompt were not in the cache when its request began."""
        return self.job.prompt_tokens - (self.job.cached_tokens or 0)

    @property
    def generates(self) -> bool:
        """Whether the next run gives it a token that somebody waits for."""
        return self.pending == 1

    @property
    def patient(self) -> bool:
        """Whether nobody reads its tokens as they come."""
        return False

    @property
    def generated(self) -> int:
        """How many tokens follow the prompt."""
        return len(self.tokens) - self.job.prompt_tokens

    @property
    def reading(self) -> bool:
        """Whether a part of the prompt is not in the cache yet."""
        return self.slot is not None and self.slot.length < self.job.prompt_tokens

    @property
    def fetching(self) -> bool:
        """Whether the disk is read for it."""
        return self.fetched is not None and not self.fetched.done()

    def take_fetched(self) -> Fetched | None:
        """What the disk had, once; None: nothing, or it could not be read."""
        fetched, self.fetched = self.fetched, None
        if fetched is None or fetched.cancelled() or fetched.exception() is not None:
            return None
        return fetched.result()

    @property
    def admissible(self) -> bool:
        """Whether it can run or be refused."""
        return not self.fetching

    @property
    def refusal(self) -> RequestError | None:
        """Why it cannot run; None: it can, or that is not known yet."""
        return None

    @property
    def failure(self) -> RequestError | None:
        """Why it cannot go on; None: it can."""
        return None if self.broken is None else RequestError(ErrorCode.INTERNAL, self.broken)

    @property
    def copied(self) -> int:
        """How many of its first tokens are all that matters, and likely to be in other slots."""
        return 0

    @property
    def scored(self) -> int:
        """How many of the last tokens need logits, though they are known."""
        return 0

    def wanted_logits(self, count: int, draft: int) -> int:
        """How many tokens need logits at the end of a run of ``count`` pending ones and a draft."""
        return 1 + draft if count == self.pending else 0

    def draft(self, limit: int, probability: float) -> Draft:
        """At most ``limit`` tokens that may follow the pending one. See ``Drafter.draft``."""
        return Draft()

    def close(self) -> None:
        """It has left the engine after its end."""

    def take_unreported(self) -> int:
        """The generated tokens that no output has told of; from now on they count as told."""
        return 0


def cost(left: Several[Sequence]) -> Output | None:
    """What no output has told of a request that ends early; None: nothing.

    ``left``: its sequences that have not finished.
    """
    made = sum(sequence.take_unreported() for sequence in left)
    if not left or not (made or left[0].job.drafted_tokens):
        return None
    job = left[0].job
    return Output(job.request_id, finish_reason=FinishReason.ABORT, usage=job.usage, made=made)
