"""The sequences of an engine, from their arrival to their end: which wait, and which have a slot.

add ──> waiting ──give_slots──> running ──finish──> gone
           ^──put_back, preempt────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Several

from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.waiting.token_counters import TokenCounters
from cupola.workers.engine.invariants import violations
from cupola.workers.engine.recovery import Recovery
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.engine.slot_queue import SlotQueue


class Sequences:
    """Each sequence either waits or runs. One that leaves a run early is the first to run again."""

    def __init__(
        self,
        slots: SlotAllocator,
        counters: TokenCounters,
        spare: int = 0,
        short_context: int = 0,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``counters``: what each client has been served. ``spare``: so many slots are for clients
        that run nothing. ``short_context``: how many tokens the model's first rotary table has;
        0: all. ``wake`` is called from another thread when the disk was read for a sequence."""
        self.running: list[Sequence] = []  # in order of arrival
        self.waiting = SlotQueue(counters)
        self.lacks_memory = False  # for the first that waits and could have a slot
        self._slots = slots
        self._counters = counters
        self._spare = spare
        self._short_context = short_context
        self._wake = wake
        self._recovery: Recovery[Sequence] = Recovery()

    @property
    def usage(self) -> float:
        """What the running sequences hold of the memory of keys and values, from 0 to 1."""
        held = sum(sequence.slot.length for sequence in self.running if sequence.slot is not None)
        return min(1.0, held / self._slots.positions)

    @property
    def busy(self) -> bool:
        """Whether one runs, or can get a slot or be refused."""
        return bool(self.running) or any(sequence.admissible for sequence in self.waiting)

    @property
    def postponed(self) -> frozenset[str]:
        """Ids of the requests that cannot get a slot yet."""
        waiting = (sequence for sequence in self.waiting if not sequence.admissible)
        return frozenset(sequence.job.request_id for sequence in waiting)

    def add(self, sequences: Several[Sequence]) -> None:
        """Those of a new request wait for slots."""
        first = sequences[0]
        first.long = self._short_context > 0 and first.outgrows(self._short_context)
        if (fetched := self._slots.fetch(first)) is not None:
            fetched.add_done_callback(lambda _: self._wake())
        for sequence in sequences:
            sequence.long, sequence.fetched = first.long, fetched
        self.waiting.add(sequences)

    def give_slots(self) -> list[Rejected]:
        """Let sequences run that wait, in the order of service.

        Those whose grammar turned out to be wrong end here. When there is no memory for one, all
        behind it wait as well: else small sequences could pass a large one for ever.
        """
        failed: dict[str, Rejected] = {}
        self.lacks_memory = False
        for sequence in self.waiting.in_order():
            request_id = sequence.job.request_id
            if not self._slots.free:
                break
            if request_id in failed:
                continue
            if (error := sequence.refusal) is not None:
                failed[request_id] = error.rejected(request_id)
                self.waiting.remove_all(request_id)
                continue
            if self.lacks_memory or not self._may_run(sequence):
                continue
            self.lacks_memory = not self._slots.has_room(sequence, self.running)
            if not self.lacks_memory and self._slots.allocate(sequence, self.running):
                self.waiting.remove(sequence)
                self.running.append(sequence)
                self._counters.is_next(sequence.client)
                self._counters.charge(sequence.client, prompt=sequence.pending)
        return list(failed.values())

    def _may_run(self, sequence: Sequence) -> bool:
        """Whether only memory can hold it up."""
        admitted = sequence.admissible and self._recovery.admits(sequence)
        return admitted and self._has_claim(sequence)

    def _has_claim(self, sequence: Sequence) -> bool:
        """Whether there are free slots besides the spare ones, or its client is a newcomer."""
        free, client = self._slots.free, sequence.client
        return free > self._spare or all(other.client != client for other in self.running)

    # -- sequences that leave a run ----------------------------------------------------------------

    def finish(self, sequence: Sequence) -> None:
        """It has left the engine. What it has computed stays in the cache."""
        self.running.remove(sequence)
        self._slots.release(sequence)
        self._recovery.forget(sequence)
        sequence.close()

    def remove(self, request_id: str) -> tuple[list[Sequence], list[Sequence]]:
        """A request has ended early. Returns its sequences: those that ran, those that waited."""
        running = [s for s in self.running if s.job.request_id == request_id]
        for sequence in running:
            self.finish(sequence)
        waiting = self.waiting.remove_all(request_id)
        for sequence in waiting:
            self._recovery.forget(sequence)
        return running, waiting

    def spoil(self, sequence: Sequence) -> None:
        """What the sequences of its request have computed may not be numbers: it is not kept."""
        for other in self.running:
            if other.job is sequence.job:
                self._slots.preempt(other)

    def preempt(self, sequence: Sequence) -> None:
        """It waits, and gives its memory back."""
        self.running.remove(sequence)
        self._slots.preempt(sequence)
        self.waiting.put_back(sequence)

    def use_long_table(self) -> None:
        """Start sequences again that have outgrown the model's first rotary table.

        The second table gives other keys for all of their tokens.
        """
        if short := self._short_context:
            outgrown = [s for s in (*self.running, *self.waiting) if s.outgrows(short)]
            for sequence in reversed(outgrown):
                if sequence.slot is not None:
                    self._put_back(sequence)
                sequence.long = True

    def _put_back(self, sequence: Sequence) -> None:
        """It waits. What it has computed stays in the cache."""
        self.running.remove(sequence)
        self._slots.release(sequence)
        self.waiting.put_back(sequence)

    # -- runs that fail ----------------------------------------------------------------------------

    def run_failed(self, counts: Mapping[Sequence, int]) -> Sequence | None:
        """Start all over. ``counts``: how many tokens the run had of each sequence.

        Returns the guilty sequence; None: it must be found out, or ``hopeless``.
        """
        guilty = self._recovery.failed(
            (sequence, max(1, sequence.cached + counts.get(sequence, 0)))
            for sequence in self.running
        )
        if not self.hopeless:
            for sequence in reversed(self.running.copy()):
                self.preempt(sequence)
        return guilty

    @property
    def hopeless(self) -> bool:
        """See ``Recovery.hopeless``."""
        return self._recovery.hopeless

    def run_worked(self) -> None:
        """After the outputs of a run. A sequence that it acquits waits until the others are."""
        if (acquitted := self._recovery.passed(lambda sequence: sequence.cached)) is not None:
            self._put_back(acquitted)

    def violations(self) -> Iterator[str]:
        """What is inconsistent between two steps; for tests and for debugging."""
        yield from violations(self.running, tuple(self.waiting), self._slots)
        if self._recovery.suspect not in (None, *self.running, *self.waiting):
            yield "a sequence that has left is under suspicion"
