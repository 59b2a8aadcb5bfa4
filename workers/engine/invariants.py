"""Whether an engine's books agree with each other. Pure; for tests and for debugging.

The tests look after every step, and at idle everything must be back where it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import Seating


def violations(
    running: Collection[Sequence], waiting: Collection[Sequence], seating: Seating
) -> Iterator[str]:
    """What is wrong, in words; nothing is what is hoped for."""
    table = seating.table
    seats = [sequence.slot for sequence in running]
    for sequence in running:
        yield from _of_a_seat(sequence)
    if len({id(slot) for slot in seats}) < len(seats):
        yield "two sequences have one slot"
    if any(sequence.slot is not None for sequence in waiting):
        yield "a sequence waits in a slot"
    if len({id(sequence) for sequence in (*running, *waiting)}) < len(running) + len(waiting):
        yield "a sequence is there twice"
    if (held := len(table.slots) - table.free) != len(running):
        yield f"{held} slots are held by {len(running)} sequences"
    if seating.committed > seating.positions:
        yield f"{seating.committed} positions are in memory, of {seating.positions}"
    for slot in table.slots:
        if not slot.length <= min(slot.touched, len(slot.tokens)):
            yield f"slot {slot.index} holds more tokens than it has memory or names for"
    there = Counter(id(sequence.job) for sequence in (*running, *waiting))
    for job in {id(s.job): s.job for s in (*running, *waiting)}.values():
        if job.open != there[id(job)]:
            yield f"{job.request_id}: {there[id(job)]} answers are left, but {job.open} are open"


def _of_a_seat(sequence: Sequence) -> Iterator[str]:
    slot, name = sequence.slot, sequence.job.request_id
    if slot is None or not slot.running:
        yield f"{name} runs without a slot"
    elif slot.tokens is not sequence.tokens:
        yield f"{name}'s slot has the tokens of another"
    if sequence.pending < 1:
        yield f"{name} has nothing to run"
    if sequence.finish_reason is not None or sequence.broken is not None:
        yield f"{name} is over and still runs"
