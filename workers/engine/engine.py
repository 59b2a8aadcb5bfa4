"""Continuous batching: a step plans a run, runs it, selects tokens, and returns the outputs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Rejected, Turn
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, Transcribe, Work
from cupola.scheduler.waiting.token_counters import TokenCounters
from cupola.workers.engine.admission import Admission
from cupola.workers.engine.draft_planner import DraftPlanner
from cupola.workers.engine.fork import more_forks
from cupola.workers.engine.prompt_reader import Accepted, PromptReader, check_kind
from cupola.workers.engine.request_timings import RequestTimings
from cupola.workers.engine.rows import row_of
from cupola.workers.engine.sequence import Reproducible, Sequence, cost
from cupola.workers.engine.sequences import Sequences
from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.engine.step_planner import StepPlanner, generating, prompt_tokens
from cupola.workers.engine.token_selection import TokenSelection
from cupola.workers.engine.warm_up import WarmUp
from cupola.workers.grammar.constraints import Constraints
from cupola.workers.model.backend import RequestError, refuse_speech
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.text import TextCodec
from cupola.workers.model.text_intake import TextIntake
from cupola.workers.model.text_jobs import Cancelled
from cupola.workers.planning.plan import Step
from cupola.workers.planning.slot_count import SlotCount
from cupola.workers.planning.step_budget import StepBudget
from cupola.workers.run.runner import Logits
from cupola.workers.run.session import Session
from cupola.workers.sampling.masks import MaskBatch
from cupola.workers.slots.prefix_cache import PrefixCache

logger = logging.getLogger(__name__)

Arrived = tuple[Accepted, Turn]
RUN_FAILED = "the model failed while it ran this request"


class Engine:
    """A backend over a session. See ``backend.Backend`` for the contract."""

    def __init__(
        self,
        folder: ModelFolder,
        codec: TextCodec,
        session: Session,
        step_budget: StepBudget,
        positions: int,
        wake: Callable[[], None] = lambda: None,
        reproducible: Reproducible = "asked",
        prefixes: PrefixCache | None = None,
        slot_count: SlotCount | None = None,
        spare: int = 0,
        warms_up: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``positions``: the most keys and values in memory at once, but at least one full context.
        ``wake`` is called from another thread when the engine has new work. ``reproducible``: which
        requests must have the same answer again. ``prefixes`` keeps what slots cannot hold.
        ``slot_count``: how many slots are used; None: all.

        ``spare``: so many slots are for clients that run nothing here. ``warms_up``: whether it
        prepares for requests while there are none."""
        self.session = session
        self._wake = wake
        self._clock = clock
        self._context = folder.context
        ends = sorted(folder.end_tokens)
        constraints = Constraints(folder.path / "tokenizer.json", session.vocabulary, ends)
        self._reader = PromptReader(folder, codec, session.vocabulary)
        self._admission = Admission(folder, codec, constraints, wake, reproducible)
        self._masks = MaskBatch(session.slots, session.vocabulary, ends)
        self.prefixes = prefixes
        positions = max(positions, folder.context)
        self.slots = SlotAllocator(session.cache, session.slots, positions, prefixes)
        self._slot_count = slot_count or SlotCount(session.slots - spare, 0.0)
        self._spare = spare
        self.slots.limit = self.capacity
        self._warm_up = WarmUp(session, self.slots) if warms_up else None
        self._selection = TokenSelection(self._masks, self.slots, codec.token_bytes)
        self._texts: TextIntake[Arrived] = TextIntake(codec, wake)
        self._counters = TokenCounters()
        self._sequences = Sequences(self.slots, self._counters, spare, session.short_context, wake)
        self._running, self._waiting = self._sequences.running, self._sequences.waiting
        drafts = DraftPlanner(session, self.slots, folder.context)
        self._planner = StepPlanner(
            session, self.slots, self._sequences, drafts, step_budget, self._counters.of
        )
        self._timings = RequestTimings()
        self._ended = clock()  # the last step

    @property
    def serving(self) -> Serving:
        serving = replace(self.session.serving, kv_usage=round(self._sequences.usage, 4))
        if self.prefixes is None:
            return serving
        kept, hits = self.prefixes.kept_bytes, self.prefixes.hits
        return replace(serving, kept_bytes=kept, kept_hits=hits)

    @property
    def capacity(self) -> int:
        return self._slot_count.now + self._spare

    @property
    def shared_bytes(self) -> int:
        return self.session.cache.shared_bytes

    @property
    def busy(self) -> bool:
        return self._sequences.busy or self._texts.ready

    @property
    def postponed(self) -> frozenset[str]:
        return self._sequences.postponed

    @property
    def run_seconds(self) -> float:
        """How long the last run of the model took."""
        return self.session.seconds

    @property
    def running(self) -> tuple[Sequence, ...]:
        """The sequences that have a slot, in order of arrival."""
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[Sequence, ...]:
        """The sequences that wait for a slot."""
        return tuple(self._waiting)

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        return self._texts.convert(request_id, task)

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        work = check_kind(refuse_speech(work), self.session.verifies_drafts)
        if (prompt := self._reader.read_small(work)) is not None:
            self._enqueue(request_id, (prompt, turn))
        else:
            self._texts.start(request_id, partial(self._read, work, turn))

    def abort(self, request_id: str) -> Output | None:
        self._texts.cancel(request_id)
        running, waiting = self._sequences.remove(request_id)
        self._admission.abandon(waiting)
        self._timings.forget(request_id)
        return cost([*running, *waiting])

    def warm_up(self) -> bool:
        if self._running:
            return False
        prepares = self._warm_up is not None and self._warm_up.step()
        return prepares or self.slots.write_some()

    def close(self) -> None:
        self.slots.close()

    def rest(self, long: bool) -> None:
        if not self._running:
            self.slots.shrink(0 if long else self._context)
            if long and self.prefixes is not None:
                self.prefixes.clear()
            self._admission.rest()

    def violations(self) -> list[str]:
        """What is inconsistent between two steps; for tests and for debugging."""
        found = list(self._sequences.violations())
        if self._masks.pending:
            found.append(f"{self._masks.pending} masks of an earlier step are left")
        return found

    def step(self) -> list[Output | Rejected]:
        read = list(self._texts.take(self._enqueue))
        self._sequences.use_long_table()
        failed = self._give_slots()
        rejected = [*read, *failed]
        began = self._clock()
        steps = self._planner.plan(began - self._ended)
        if not steps:
            return [*rejected]
        completing = [step.sequence for step in steps if step.completes]
        self._selection.begin(steps)
        self._timings.begin(steps)
        learn = self._planner.learner(steps)
        try:
            logits = self._run(steps)
        except Exception as error:  # of whatever kind the runtime raises
            return [*rejected, *self._recover(steps, error)]
        # The spare slots are of no use to those that wait.
        full = self.slots.free <= self._spare or self._sequences.lacks_memory
        waiting = {s.job.request_id for s in self._waiting} if full else ()
        selected = self._selection.select(steps, logits, waiting)
        outputs = self._timings.add_to(selected, steps)
        self._ended = self._clock()
        learn(self._ended - began)
        return [*rejected, *outputs, *self._end(completing)]

    # -- the parts of a step -----------------------------------------------------------------------

    def _read(self, work: Work | Decide, turn: Turn, cancelled: Cancelled) -> Arrived:
        """A large prompt. Called from another thread. Raises RequestError."""
        return self._reader.read(work, cancelled), turn

    def _enqueue(self, request_id: str, arrived: Arrived) -> None:
        """A request waits for slots. Raises RequestError."""
        self._sequences.add(self._admission.sequences(request_id, *arrived))

    def _give_slots(self) -> list[Rejected]:
        """Let sequences run that wait, and then forks of those that run, if nobody waits."""
        failed = self._sequences.give_slots()
        if not self._waiting:  # decisions use the slots that nobody wants
            free = min(self.slots.free_for_copies, self.slots.free - self._spare)
            for fork in more_forks(self._running, free, self._planner.room(), self._has_room):
                self._waiting.add([fork])
                failed += self._sequences.give_slots()
        return failed

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether there is memory for one more like this one."""
        return self.slots.has_room(sequence, self._running)

    def _run(self, steps: list[Step[Sequence]]) -> Logits:
        """Run the model. Raises what the session raises."""
        logits = self.session.run([row_of(step) for step in steps])
        running, seconds = generating(self._running), self.session.seconds
        self._slot_count.observe(running, prompt_tokens(steps), seconds)
        self.slots.limit = self.capacity
        return logits

    def _end(self, completing: list[Sequence]) -> list[Output | Rejected]:
        """Take leave of the sequences that are finished or have failed."""
        failed: list[Output | Rejected] = []
        for sequence in completing:
            self._charge(sequence)
            if sequence.slot is None:
                continue  # another answer of its request has failed
            if sequence.failure is not None:
                failed += self._fail(sequence, sequence.failure)
            elif sequence.finish_reason is not None:
                self._sequences.finish(sequence)
        self._sequences.run_worked()
        return failed

    def _charge(self, sequence: Sequence) -> None:
        """Charge what a step has brought: a token, or tokens of a question that are to be read."""
        if not sequence.patient:
            self._counters.charge(sequence.client, generated=1)
        elif sequence.finish_reason is None:
            self._counters.charge(sequence.client, prompt=sequence.pending)

    def _fail(self, sequence: Sequence, error: RequestError) -> list[Output | Rejected]:
        request_id = sequence.job.request_id
        self._sequences.spoil(sequence)
        spent = self.abort(request_id)
        return [*([spent] if spent else []), error.rejected(request_id)]

    def _recover(self, steps: list[Step[Sequence]], error: Exception) -> list[Output | Rejected]:
        """Start over after a run that failed. A sequence that failed alone ends; others run again.

        Raises ``error``, or what the session raises when it is built again: the engine is lost.
        """
        logger.error("a run of %d sequences failed: %s", len(steps), error)
        counts = {step.sequence: step.count for step in steps}
        guilty = self._sequences.run_failed(counts)
        if self._sequences.hopeless:
            raise error
        self._masks.drop()
        self.slots.clear()
        self.session.rebuild()
        return self._fail(guilty, RequestError(ErrorCode.INTERNAL, RUN_FAILED)) if guilty else []
