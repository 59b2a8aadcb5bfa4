"""Whether sequences, slots and memory of an engine agree. Pure; for tests and for debugging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import SlotAllocator


def violations(
    running: Collection[Sequence], waiting: Collection[Sequence], slots: SlotAllocator
) -> Iterator[str]:
    """What is inconsistent between two steps, in words. Nothing, if all is well."""
    table = slots.table
    for sequence in running:
        yield from _running_violations(sequence)
    if len({id(sequence.slot) for sequence in running}) < len(running):
        yield "two sequences have one slot"
    if any(sequence.slot is not None for sequence in waiting):
        yield "a sequence waits in a slot"
    if len({id(sequence) for sequence in (*running, *waiting)}) < len(running) + len(waiting):
        yield "a sequence is there twice"
    if (held := len(table.slots) - table.free) != len(running):
        yield f"{held} slots are held by {len(running)} sequences"
    if slots.committed > slots.positions:
        yield f"{slots.committed} positions are in memory, of {slots.positions}"
    for slot in table.slots:
        if not slot.exact <= slot.length <= min(slot.touched, len(slot.tokens)):
            yield f"slot {slot.index} holds more tokens than it has memory or names for"
    answers = Counter(id(sequence.job) for sequence in (*running, *waiting))
    for job in {id(s.job): s.job for s in (*running, *waiting)}.values():
        if job.open != answers[id(job)]:
            yield f"{job.request_id}: {answers[id(job)]} answers are left, but {job.open} are open"


def _running_violations(sequence: Sequence) -> Iterator[str]:
    slot, name = sequence.slot, sequence.job.request_id
    if slot is None or not slot.running:
        yield f"{name} runs without a slot"
    elif slot.tokens is not sequence.tokens:
        yield f"{name}'s slot has the tokens of another sequence"
    elif sequence.reproducible and slot.exact < slot.length:
        yield f"{name} depends on what others have computed"
    if sequence.pending < 1:
        yield f"{name} has nothing to run"
    if sequence.finish_reason is not None or sequence.broken is not None:
        yield f"{name} has ended and still runs"
