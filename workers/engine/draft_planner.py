"""Decides which sequences of a step have draft tokens, and how many."""

from __future__ import annotations

from math import ceil

from cupola.workers.engine.rows import is_exact
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.planning.plan import Step
from cupola.workers.run.session import Session
from cupola.workers.speculation.draft import Draft, min_probability, worth_verifying

# To verify draft tokens is nearly free while the run is bound by reading the weights. Beyond that a
# draft token costs as much as any other. So only few sequences have drafts, and few tokens
# together.
DRAFTING_SEQUENCES = 8
DRAFT_TOKENS = 16


class DraftPlanner:
    """Adds draft tokens to the sequences that generate, while there are few of them."""

    def __init__(self, session: Session, slots: SlotAllocator, context: int) -> None:
        """``context``: the most tokens of a sequence."""
        self._session = session
        self._slots = slots
        self._context = context

    def add_drafts(self, steps: list[Step[Sequence]], budget: int) -> None:
        """Set ``draft`` of the steps. ``budget``: the most tokens that the run may hold."""
        if len(steps) > DRAFTING_SEQUENCES or not self._session.verifies_drafts:
            return
        left = min(DRAFT_TOKENS, budget - sum(step.width for step in steps))
        probability = min_probability(len(steps))
        drafts: list[tuple[Step[Sequence], Draft]] = []
        generating = [step for step in steps if step.completes and not step.sequence.reading]
        for behind, step in zip(range(len(generating), 0, -1), generating, strict=True):
            room = self._max_tokens(step.sequence) - len(step.sequence.tokens)
            draft = step.sequence.draft(min(ceil(left / behind), room), probability)
            if draft.tokens:
                drafts.append((step, draft))
                left -= len(draft.tokens)
        if not worth_verifying(len(steps), [draft for _, draft in drafts], self._copied(steps)):
            return
        for step, draft in drafts:
            step.draft = draft.tokens
            if not self._slots.make_room(steps):
                step.draft = ()

    def _copied(self, steps: list[Step[Sequence]]) -> float:
        """What the run copies because of drafts, in multiples of the weights.

        It is nothing if rows in the run need the same copy anyway.
        """
        if any(is_exact(step) for step in steps):
            return 0.0
        positions = sum(step.sequence.slot.length for step in steps if step.sequence.slot)
        return positions / self._session.copy_limit

    def _max_tokens(self, sequence: Sequence) -> int:
        """How many tokens the sequence may have while it is read with the same rotary table."""
        short = self._session.short_context
        return short if short and not sequence.long else self._context
