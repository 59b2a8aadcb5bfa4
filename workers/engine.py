"""Continuous batching: every step plans, runs, samples and tells, for all sequences of a model."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.messages import (
    Decode,
    Embed,
    Encode,
    ErrorCode,
    Output,
    TokenLogprob,
    Work,
)
from cupola.workers.admission import Admission
from cupola.workers.backend import RequestError
from cupola.workers.conversion import convert
from cupola.workers.logprobs import logprob
from cupola.workers.model_folder import ModelFolder
from cupola.workers.plan import plan
from cupola.workers.sampling import sample
from cupola.workers.sequence import Sequence
from cupola.workers.session import DecoderSession, Row
from cupola.workers.slots import Match, Slot, SlotTable, common_prefix
from cupola.workers.text import TextCodec

# Tokens that a neighbour must be about to compute for a prompt to wait for them (SGLang's choice).
WORTH_WAITING = 32

Step = tuple[Sequence, int]  # a sequence, and how many of its pending tokens are in this run


class Engine:
    """A backend over a serving graph. See ``backend.Backend`` for the contract."""

    def __init__(
        self,
        folder: ModelFolder,
        codec: TextCodec,
        session: DecoderSession,
        budget: int,
        positions: int,
    ) -> None:
        """``budget``: tokens a step may hold, the session's width at most.

        ``positions``: of keys and values that may be in memory at once; one context is always.
        """
        self._codec = codec
        self._session = session
        self._budget = budget
        self._positions = max(positions, folder.context)
        self._admission = Admission(folder, codec, session.vocabulary)
        self._table = SlotTable(session.slots)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in order of arrival

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting)

    def convert(self, request_id: str, task: Encode | Decode) -> Output:
        return convert(self._codec, request_id, task)

    def add(self, request_id: str, work: Work | Embed) -> None:
        if isinstance(work, Embed):
            text = "this model generates text; for embeddings use a model whose task they are"
            raise RequestError(ErrorCode.INVALID_REQUEST, text)
        self._waiting.extend(self._admission.sequences(request_id, work))

    def abort(self, request_id: str) -> None:
        for sequence in [s for s in self._running if s.job.request_id == request_id]:
            self._retire(sequence)
        self._waiting = deque(s for s in self._waiting if s.job.request_id != request_id)

    def step(self) -> list[Output]:
        self._admit()
        steps = self._within_memory(plan(self._running, self._budget))
        if not steps:
            return []
        logits = self._session.run([_row(sequence, count) for sequence, count in steps])
        ready, rows = self._account(steps, logits)
        if not ready:
            return []
        entries = [self._entry(s, row) for s, row in zip(ready, rows, strict=True)]
        chosen = rows.copy() if any(entries) else rows  # penalties change what logprobs are of
        tokens = sample(chosen, [sequence.sampler for sequence in ready]).tolist()
        outputs = [
            sequence.advance(token, entry(token) if entry else None)
            for sequence, token, entry in zip(ready, tokens, entries, strict=True)
        ]
        for sequence in ready:
            if sequence.finish_reason is not None:
                self._retire(sequence)
        return [output for output in outputs if output is not None]

    # -- the beginning and the end of a sequence ---------------------------------------------------

    def _admit(self) -> None:
        """Give free slots to waiting sequences, with what the cache holds of their prompts."""
        postponed: deque[Sequence] = deque()
        while self._waiting and self._table.free:
            sequence = self._waiting.popleft()
            match = self._match(sequence)
            if self._computes_more(sequence, match):
                postponed.append(sequence)
                continue
            slot = self._table.take(match)
            if slot is not match.slot and match.length:
                self._session.cache.copy(match.slot.index, slot.index, match.length)
            self._table.start(slot, sequence.tokens, match.length, sequence.salt)
            sequence.slot = slot
            if sequence.job.cached_tokens is None:
                sequence.job.cached_tokens = min(match.length, sequence.job.prompt_tokens)
            self._running.append(sequence)
        self._waiting = postponed + self._waiting

    def _match(self, sequence: Sequence) -> Match:
        if sequence.prompt_logprobs is not None:  # they need every token's logits
            return Match(self._table.slots[0], 0)
        return self._table.match(sequence.tokens[:-1], sequence.salt)  # one token must be run

    def _computes_more(self, sequence: Sequence, match: Match) -> bool:
        """Whether a running sequence is about to compute more of this prompt than is cached."""
        if sequence.prompt_logprobs is not None:
            return False
        limit = len(sequence.tokens) - 1
        for other in self._running:
            if other.reading and other.salt == sequence.salt:
                worth = 1 if other.job is sequence.job else WORTH_WAITING
                known = min(limit, other.job.prompt_tokens)
                if common_prefix(sequence.tokens, other.tokens, known) >= match.length + worth:
                    return True
        return False

    def _retire(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        if sequence.slot is not None:
            self._table.release(sequence.slot)
            sequence.slot = None

    # -- memory ------------------------------------------------------------------------------------

    def _within_memory(self, steps: list[Step]) -> list[Step]:
        """The steps for which there is memory: old caches go first, then the youngest sequence."""
        while self._table.touched + sum(_growth(*step) for step in steps) > self._positions:
            if stale := self._table.stale():
                self._forget(stale)
                continue
            youngest = self._running[-1]
            self._preempt(youngest)
            steps = [step for step in steps if step[0] is not youngest]
        return steps

    def _preempt(self, sequence: Sequence) -> None:
        """Its tokens are kept and computed again when there is room."""
        slot = sequence.slot
        self._retire(sequence)
        if slot is not None:
            self._forget(slot)
        self._waiting.appendleft(sequence)

    def _forget(self, slot: Slot) -> None:
        self._table.forget(slot)
        self._session.cache.forget(slot.index)

    # -- logits ------------------------------------------------------------------------------------

    def _account(
        self, steps: list[Step], logits: NDArray[np.float32]
    ) -> tuple[list[Sequence], NDArray[np.float32]]:
        """Note what is cached now; the sequences that get a token, and their rows of logits."""
        ready: list[Sequence] = []
        places: list[int] = []
        place = 0
        for sequence, count in steps:
            assert sequence.slot is not None
            wanted = _wanted(sequence, count)
            if sequence.prompt_logprobs is not None and wanted:
                self._tell_prompt(sequence, count, logits[place : place + wanted])
            place += wanted
            self._table.extend(sequence.slot, count)
            if not sequence.pending:
                ready.append(sequence)
                places.append(place - 1)
        return ready, logits if len(places) == len(logits) else logits[places]

    def _tell_prompt(self, sequence: Sequence, count: int, rows: NDArray[np.float32]) -> None:
        assert sequence.slot is not None and sequence.prompt_logprobs is not None
        begin = sequence.slot.length + 1  # the logits of a token are about the one behind it
        following = sequence.tokens[begin : min(begin + count, sequence.job.prompt_tokens)]
        best = sequence.params.logprobs or 0
        sequence.prompt_logprobs += [
            logprob(row, token, best, self._codec.token_bytes)
            for row, token in zip(rows, following, strict=False)
        ]

    def _entry(self, sequence: Sequence, row: NDArray[np.float32]) -> _Entry | None:
        if sequence.params.logprobs is None:
            return None
        return _Entry(row, sequence.params.logprobs, self._codec)


class _Entry:
    """A row of the model's own logits, until it is known which token was chosen."""

    def __init__(self, row: NDArray[np.float32], best: int, codec: TextCodec) -> None:
        self._row, self._best, self._codec = row, best, codec

    def __call__(self, token: int) -> TokenLogprob:
        return logprob(self._row, token, self._best, self._codec.token_bytes)


def _row(sequence: Sequence, count: int) -> Row:
    slot = sequence.slot
    assert slot is not None
    tokens = sequence.tokens[slot.length : slot.length + count]
    return Row(slot.index, slot.length, tokens, _wanted(sequence, count))


def _wanted(sequence: Sequence, count: int) -> int:
    """Of how many of the chunk's last tokens the logits are wanted."""
    if sequence.prompt_logprobs is not None and sequence.reading:
        return count
    return 1 if count == sequence.pending else 0


def _growth(sequence: Sequence, count: int) -> int:
    """Positions of memory that a step touches for the first time."""
    slot = sequence.slot
    return max(0, slot.length + count - slot.touched) if slot else 0
