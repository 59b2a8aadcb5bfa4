"""Continuous batching: every step plans, runs, samples and tells, for all sequences of a model."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from cupola.scheduler.protocol.messages import (
    Decode,
    Embed,
    Encode,
    ErrorCode,
    Output,
    Rejected,
    Serving,
    Work,
)
from cupola.workers.engine.admission import Admission
from cupola.workers.engine.invariants import violations
from cupola.workers.engine.plan import Step, plan
from cupola.workers.engine.recovery import Recovery
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import Seating
from cupola.workers.engine.speculation import Speculation
from cupola.workers.engine.step_budget import Pace
from cupola.workers.engine.token_selection import Drawing, wanted_of
from cupola.workers.grammar.constraints import Constraints
from cupola.workers.model.backend import RequestError
from cupola.workers.model.conversion import convert
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.text import TextCodec
from cupola.workers.run.packing import Row
from cupola.workers.run.session import Session
from cupola.workers.sampling.masks import MaskBatch

logger = logging.getLogger(__name__)

RUN_FAILED = "the model failed while it ran this request"

Told = Output | Rejected


class Engine:
    """A backend over a serving graph. See ``backend.Backend`` for the contract."""

    def __init__(
        self,
        folder: ModelFolder,
        codec: TextCodec,
        session: Session,
        pace: Pace,
        positions: int,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``positions``: of keys and values that may be in memory at once; one context is always.

        ``wake``: called from another thread when there is something to do that was not before.
        """
        self._codec = codec
        self._session = session
        self._pace = pace
        ends = sorted(folder.end_tokens)
        constraints = Constraints(folder.path / "tokenizer.json", session.vocabulary, ends)
        self._admission = Admission(folder, codec, session.vocabulary, constraints, wake)
        self._masks = MaskBatch(session.slots, session.vocabulary, ends)
        self._seating = Seating(session.cache, session.slots, max(positions, folder.context))
        self._speculation = Speculation(session, self._seating, folder.context)
        self._drawing = Drawing(self._masks, self._seating, codec.token_bytes)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in order of arrival
        self._recovery: Recovery[Sequence] = Recovery()

    @property
    def serving(self) -> Serving:
        return self._session.serving

    @property
    def shared_bytes(self) -> int:
        return self._session.cache.shared_bytes

    @property
    def busy(self) -> bool:
        return bool(self._running) or any(sequence.admissible for sequence in self._waiting)

    @property
    def run_seconds(self) -> float:
        """What the last run of the model took."""
        return self._session.seconds

    def convert(self, request_id: str, task: Encode | Decode) -> Output:
        return convert(self._codec, request_id, task)

    def add(self, request_id: str, work: Work | Embed) -> None:
        if isinstance(work, Embed):
            text = "this model generates text; for embeddings use a model whose task they are"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
        if work.prompt_logprobs and not self._session.verifies:
            text = "this model cannot tell the log-probabilities of a prompt; leave 'echo' out"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "prompt_logprobs")
        self._waiting.extend(self._admission.sequences(request_id, work))

    def abort(self, request_id: str) -> None:
        for sequence in [s for s in self._running if s.job.request_id == request_id]:
            self._retire(sequence)
        for sequence in [s for s in self._waiting if s.job.request_id == request_id]:
            self._waiting.remove(sequence)
            self._recovery.forget(sequence)

    def violations(self) -> list[str]:
        """What is wrong with the books between two steps; for tests and for debugging."""
        return list(violations(self._running, self._waiting, self._seating))

    def step(self) -> list[Told]:
        self._lengthen()
        told: list[Told] = [*self._admit()]
        budget = self._pace.budget(sum(sequence.pending == 1 for sequence in self._running))
        steps = self._within_memory(plan(self._running, budget, self._session.abreast))
        if not steps:
            return told
        self._speculation.draft(steps, budget)
        completing = [step.sequence for step in steps if step.completes]
        self._masks.begin([sequence.matcher for sequence in completing])
        try:
            logits = self._session.run([_row(step) for step in steps])
        except Exception as error:  # of whatever kind the runtime raises
            return told + self._recover(steps, error)
        self._observe(steps)
        told += self._drawing.advance(steps, logits)
        for sequence in completing:
            if sequence.slot is None:
                continue  # it left with another answer of its request
            if sequence.failure is not None:
                told.append(self._fail(sequence, sequence.failure))
            elif sequence.finish_reason is not None:
                self._retire(sequence)
        if (acquitted := self._recovery.passed(lambda s: s.cached)) is not None:
            self._stand_aside(acquitted)
        return told

    # -- the beginning and the end of a sequence ---------------------------------------------------

    def _admit(self) -> list[Rejected]:
        """Seat waiting sequences; those whose grammar turned out to be wrong end here.

        For whom there is no memory the others behind wait, too: small ones must not pass for ever.
        """
        failed: dict[str, Rejected] = {}
        full = False
        postponed: deque[Sequence] = deque()
        while self._waiting and self._seating.free:
            sequence = self._waiting.popleft()
            if sequence.job.request_id in failed:
                continue
            if (error := sequence.refusal) is not None:
                failed[sequence.job.request_id] = error.rejected(sequence.job.request_id)
                continue
            ready = not full and self._admits(sequence)
            full |= ready and not self._seating.has_room(sequence, self._running)
            if ready and not full and self._seating.seat(sequence, self._running):
                self._running.append(sequence)
            else:
                postponed.append(sequence)
        self._waiting = postponed + self._waiting
        return list(failed.values())

    def _admits(self, sequence: Sequence) -> bool:
        return sequence.admissible and self._recovery.admits(sequence)

    def _lengthen(self) -> None:
        """Who has outgrown the model's first rotary table begins anew with the second: it changes
        the keys of all tokens."""
        if short := self._session.short_context:
            outgrown = [s for s in (*self._running, *self._waiting) if s.outgrows(short)]
            for sequence in reversed(outgrown):
                if sequence.slot is not None:
                    self._stand_aside(sequence)
                sequence.long = True

    def _retire(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._seating.leave(sequence)
        self._recovery.forget(sequence)
        if sequence.drafter is not None:
            sequence.drafter.close()

    def _stand_aside(self, sequence: Sequence) -> None:
        """It waits, first in the queue; what it has computed stays in the cache."""
        self._running.remove(sequence)
        self._seating.leave(sequence)
        self._waiting.appendleft(sequence)

    def _preempt(self, sequence: Sequence) -> None:
        """It waits, first in the queue, and gives its memory back."""
        self._running.remove(sequence)
        self._seating.preempt(sequence)
        self._waiting.appendleft(sequence)

    def _fail(self, sequence: Sequence, error: RequestError) -> Rejected:
        request_id = sequence.job.request_id
        for other in self._running:
            if other.job is sequence.job:
                self._seating.preempt(other)  # what it has cached may be no numbers
        self.abort(request_id)
        return error.rejected(request_id)

    def _recover(self, steps: list[Step[Sequence]], error: Exception) -> list[Rejected]:
        """Start over after a run that failed; who failed alone is out, the others run again.

        Raises ``error``, or what the session has against starting again: the engine is lost.
        """
        logger.error("a run of %d sequences failed: %s", len(steps), error)
        counts = {step.sequence: step.count for step in steps}
        guilty = self._recovery.failed(
            (sequence, max(1, sequence.cached + counts.get(sequence, 0)))
            for sequence in self._running
        )
        if self._recovery.hopeless:
            raise error
        self._masks.drop()
        for sequence in reversed(list(self._running)):
            self._preempt(sequence)
        self._seating.forget_all()
        self._session.rebuild()
        return [self._fail(guilty, RequestError(ErrorCode.INTERNAL, RUN_FAILED))] if guilty else []

    def _within_memory(self, steps: list[Step[Sequence]]) -> list[Step[Sequence]]:
        """The steps for which there is memory; the youngest sequences wait for it."""
        while not self._seating.make_room(steps):
            youngest = self._running[-1]
            self._preempt(youngest)
            steps = [step for step in steps if step.sequence is not youngest]
        return steps

    def _observe(self, steps: list[Step[Sequence]]) -> None:
        counts = [step.count for step in steps]
        self._pace.observe(counts.count(1), sum(n for n in counts if n > 1), self._session.seconds)


def _row(step: Step[Sequence]) -> Row:
    slot = step.sequence.slot
    assert slot is not None
    tokens = step.sequence.tokens[slot.length : slot.length + step.count]
    return Row(
        slot.index,
        slot.length,
        [*tokens, *step.draft],
        wanted_of(step),
        long=step.sequence.long,
        steady=step.sequence.steady,
    )
