"""Seats sequences in the rows of the K/V cache, with what the cache holds of their prompts.

Memory is a budget of positions. Old caches go first; when they are gone, the engine preempts the
youngest sequence, whose tokens are kept and computed again when there is room.
"""

from __future__ import annotations

from collections.abc import Iterable

from cupola.workers.engine.plan import Step
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slots import Match, Slot, SlotTable, common_prefix
from cupola.workers.kv.kv_store import Rows

# Tokens of each answer for which there must be room when one more sequence begins.
HEADROOM = 32

# Tokens that a neighbour must be about to compute for a prompt to wait for them (SGLang's choice).
WORTH_WAITING = 32


class Seating:
    def __init__(self, cache: Rows, slots: int, positions: int) -> None:
        """``positions``: of keys and values that may be in memory at once."""
        self._cache = cache
        self.table = SlotTable(slots)
        self.positions = positions

    @property
    def free(self) -> int:
        return self.table.free

    @property
    def committed(self) -> int:
        """Positions of all slots in memory."""
        touched = {slot.index: slot.touched for slot in self.table.slots}
        return self._cache.positions(touched)

    def has_room(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Whether there is memory for all tokens there are, and some more; for one there always is.

        Who was seated without would soon be preempted, and read its prompt again and again.
        """
        seated = ((s.slot, _soon(s)) for s in running if s.slot is not None)
        others = {slot.index: max(slot.touched, soon) for slot, soon in seated}
        return not others or self._cache.positions(others) + _soon(sequence) <= self.positions

    def seat(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Give the sequence a slot; False: another is about to compute much of its prompt.

        Raises IndexError when no slot is free.
        """
        match = self._match(sequence)
        if self._worth_waiting(sequence, match, running):
            return False
        slot = self.table.take(match, self._cache.lenders())
        if slot is not match.slot and self._cache.borrows(slot.index, match.length):
            self.forget(slot)  # what lay in the memory of others would count as touched
        if slot is not match.slot and match.length:
            self._cache.copy(match.slot.index, slot.index, match.length)
        else:
            self._cache.claim(slot.index, match.length)
        self.table.start(slot, sequence.tokens, match.length, sequence.salt)
        sequence.slot = slot
        if sequence.job.cached_tokens is None:
            sequence.job.cached_tokens = min(match.length, sequence.job.prompt_tokens)
        return True

    def leave(self, sequence: Sequence) -> None:
        """The slot is free; what was computed stays for others."""
        if sequence.slot is not None:
            self.table.release(sequence.slot)
            sequence.slot = None

    def preempt(self, sequence: Sequence) -> None:
        """Leave, and give the memory back."""
        slot = sequence.slot
        self.leave(sequence)
        if slot is not None:
            self.forget(slot)

    def make_room(self, steps: Iterable[Step[Sequence]]) -> bool:
        """Give back old caches until a run fits; False: there are none left and it does not."""
        growth = sum(self._growth(step) for step in steps)
        if sum(slot.touched for slot in self.table.slots) + growth <= self.positions:
            return True  # even if nothing was shared
        while self.committed + growth > self.positions:
            if (stale := self.table.stale(self._cache.lenders())) is None:
                return False
            self.forget(stale)
        return True

    def computed(self, step: Step[Sequence]) -> None:
        """A run has put a step's tokens into the cache; its guesses do not count yet."""
        assert step.sequence.slot is not None
        self.table.extend(step.sequence.slot, step.count, beyond=len(step.draft))

    def accept(self, sequence: Sequence, right: int) -> None:
        """So many of the guesses behind the tokens turned out to be right."""
        if sequence.slot is not None:
            self.table.extend(sequence.slot, right)

    def forget_all(self) -> None:
        """Nothing is cached any more. For when nobody runs."""
        for slot in self.table.slots:
            self.forget(slot)

    def forget(self, slot: Slot) -> None:
        self.table.forget(slot)
        self._cache.forget(slot.index)

    @staticmethod
    def _growth(step: Step[Sequence]) -> int:
        """Positions of memory that a step touches for the first time."""
        slot = step.sequence.slot
        return max(0, slot.length + step.width - slot.touched) if slot else 0

    def _match(self, sequence: Sequence) -> Match:
        if sequence.prompt_logprobs is not None:  # they need every token's logits
            return Match(self.table.slots[0], 0)
        match = self.table.match(sequence.tokens[:-1], sequence.salt)  # one token must be run
        if self._cache.copies or self.table.continues(match):
            return match
        return Match(match.slot, 0)

    @staticmethod
    def _worth_waiting(sequence: Sequence, match: Match, running: Iterable[Sequence]) -> bool:
        if sequence.prompt_logprobs is not None:
            return False
        limit = len(sequence.tokens) - 1
        for other in running:
            if other.reading and other.salt == sequence.salt:
                worth = 1 if other.job is sequence.job else WORTH_WAITING
                known = min(limit, other.job.prompt_tokens)
                if common_prefix(sequence.tokens, other.tokens, known) >= match.length + worth:
                    return True
        return False


def _soon(sequence: Sequence) -> int:
    """How many tokens the sequence will soon have."""
    return len(sequence.tokens) + min(HEADROOM, sequence.max_tokens - sequence.generated)
