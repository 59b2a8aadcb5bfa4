"""Gives sequences a slot of the K/V cache, with what the cache already holds of their prompts.

Memory is a budget of positions. Old caches are given back first. When there are none left, the
engine preempts the youngest sequence. Its tokens are kept, and computed again when there is room.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future

from cupola.workers.engine.rows import is_exact
from cupola.workers.engine.sequence import Sequence
from cupola.workers.kv.kv_store import KVStore
from cupola.workers.planning.plan import Step
from cupola.workers.slots.prefix_cache import PrefixCache
from cupola.workers.slots.prefix_store import Fetched
from cupola.workers.slots.slot_table import Match, Slot, SlotTable, common_prefix

# Tokens of each answer for which there must be room when one more sequence begins.
HEADROOM = 32

# Tokens of a prompt that are computed even if the cache holds all of them: their logits are wanted.
LEAST_READ = 1

# A prompt waits for another sequence that is about to compute so many of its tokens (SGLang's
# choice).
WORTH_WAITING = 32


class SlotAllocator:
    """Keeps the table of slots and the K/V store in step."""

    def __init__(
        self, cache: KVStore, slots: int, positions: int, prefixes: PrefixCache | None = None
    ) -> None:
        """``positions``: the most keys and values that may be in memory at once.

        ``prefixes`` keeps more of them, in memory of its own.
        """
        self._cache = cache
        self.prefixes = prefixes
        self.table = SlotTable(slots)
        self.limit = slots  # how many may be taken
        self.positions = positions

    @property
    def free(self) -> int:
        """How many slots sequences can still take."""
        taken = len(self.table.slots) - self.table.free
        return max(0, self.limit - taken)

    @property
    def free_for_copies(self) -> int:
        """How many slots can take a copy of what another one holds.

        What is cached is dear, and so a copy takes its place in half of the slots at most.
        """
        if not self._cache.copies:
            return 0
        slots = self.table.slots[: self.limit]
        nothing_lost = sum(not s.running and (s.replaceable or not s.length) for s in slots)
        return min(self.free, max(nothing_lost, self.free - self.limit // 2))

    @property
    def committed(self) -> int:
        """How many positions of all slots are in memory."""
        touched = {slot.index: slot.touched for slot in self.table.slots}
        return self._cache.positions(touched)

    def has_room(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Whether there is memory for the tokens of all sequences and some more.

        For the only sequence there always is. A sequence that starts without room would soon be
        preempted, and read its prompt again and again.
        """
        soon = ((s.slot, _soon(s)) for s in running if s.slot is not None)
        others = {slot.index: max(slot.touched, tokens) for slot, tokens in soon}
        return not others or self._cache.positions(others) + _soon(sequence) <= self.positions

    def allocate(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Give the sequence a slot.

        Returns False if it should wait, because another sequence is about to compute much of its
        prompt. Raises IndexError when no slot is free.
        """
        match = self._match(sequence)
        if self._worth_waiting(sequence, max(match.length, self._kept(sequence)), running):
            return False
        continues = self.table.continues(match)
        slot = self.table.take(match, self._cache.lenders(), self.limit)
        if self.prefixes is not None and not continues and not slot.replaceable:
            self.prefixes.keep(slot)
        if slot is not match.slot and self._cache.borrows(slot.index, match.length):
            self.forget(slot)  # else memory that it shares would count as its own
        if slot is not match.slot and match.length:
            self._cache.copy(match.slot.index, slot.index, match.length)
        else:
            self._cache.claim(slot.index, match.length)
        self.table.start(slot, sequence.tokens, match, sequence.salt)
        sequence.slot = slot
        if self.prefixes is not None and sequence.prompt_logprobs is None:
            known, exact = sequence.tokens[: -_least_read(sequence)], sequence.reproducible
            self.prefixes.load(slot, known, sequence.salt, sequence.take_fetched(), exact=exact)
        if sequence.job.cached_tokens is None:
            sequence.job.cached_tokens = min(slot.length, sequence.job.prompt_tokens)
        return True

    def fetch(self, sequence: Sequence) -> Future[Fetched] | None:
        """Begin to read what the disk has of the sequence's tokens and memory has not."""
        if self.prefixes is None or self.prefixes.store is None:
            return None
        if sequence.prompt_logprobs is not None:
            return None
        known = max(self._match(sequence).length, self._kept(sequence))
        return self.prefixes.store.fetch(
            sequence.tokens[: -_least_read(sequence)], sequence.salt, known
        )

    def write_some(self) -> bool:
        """Write some of what is cached to the disk. False: there is nothing to write now."""
        store = self.prefixes.store if self.prefixes is not None else None
        return store is not None and store.write_some()

    def close(self) -> None:
        """The cache will not be used any more: write it to the disk if it is to outlive that."""
        if self.prefixes is not None and self.prefixes.store is not None:
            self.prefixes.store.close(self.table.slots)

    def release(self, sequence: Sequence) -> None:
        """Free the slot. What was computed stays for other sequences."""
        slot, sequence.slot = sequence.slot, None
        if slot is not None:
            # To take a slot that lends its memory costs a copy, so others go first.
            lends = slot.index in self._cache.lenders()
            self.table.release(slot, 0 if lends else sequence.copied)
            if self.prefixes is not None and self.prefixes.store is not None:
                self.prefixes.store.released(slot)

    def preempt(self, sequence: Sequence) -> None:
        """Free the slot and give its memory back."""
        slot = sequence.slot
        self.release(sequence)
        if slot is not None:
            self.forget(slot)

    def make_room(self, steps: Iterable[Step[Sequence]]) -> bool:
        """Give back old caches until a run fits. False: none are left and it does not fit."""
        growth = sum(self._growth(step) for step in steps)
        if sum(slot.touched for slot in self.table.slots) + growth <= self.positions:
            return True  # even if no memory was shared
        while self.committed + growth > self.positions:
            if (stale := self.table.stale(self._cache.lenders())) is None:
                return False
            if self.prefixes is not None and not stale.replaceable:
                self.prefixes.keep(stale)
            self.forget(stale)
        return True

    def record_run(self, step: Step[Sequence]) -> None:
        """A run has put a step's tokens into the cache. Draft tokens do not count yet."""
        assert step.sequence.slot is not None
        exact = is_exact(step)
        beyond = len(step.draft) + exact
        self.table.extend(step.sequence.slot, step.count, beyond, exact=exact)

    def record_accepted(self, sequence: Sequence, count: int) -> None:
        """So many of the sequence's draft tokens turned out to be right."""
        if sequence.slot is not None:
            self.table.extend(sequence.slot, count, exact=sequence.reproducible)

    def shorten(self, sequence: Sequence, length: int) -> None:
        """The sequence goes on behind its first ``length`` cached tokens, over the others."""
        if sequence.slot is not None and length < sequence.slot.length:
            self.table.shorten(sequence.slot, length)
            self._cache.claim(sequence.slot.index, length)

    def shrink(self, positions: int) -> None:
        """Give back the oldest caches until no more positions than these are in memory."""
        while self._cache.gives_back and self.committed > positions:
            if (stale := self.table.stale(self._cache.lenders())) is None:
                return
            self.forget(stale)

    def clear(self) -> None:
        """Empty the cache. No sequence may have a slot."""
        for slot in self.table.slots:
            self.forget(slot)
        if self.prefixes is not None:
            self.prefixes.clear()

    def forget(self, slot: Slot) -> None:
        """Empty a slot and give its memory back."""
        self.table.forget(slot)
        self._cache.forget(slot.index)

    @staticmethod
    def _growth(step: Step[Sequence]) -> int:
        """Positions of memory that a step touches for the first time."""
        slot = step.sequence.slot
        # The last token of an exact row takes two places. See ``packing``.
        return max(0, slot.length + step.width + is_exact(step) - slot.touched) if slot else 0

    def _match(self, sequence: Sequence) -> Match:
        if sequence.prompt_logprobs is not None:  # they need every token's logits
            return Match(self.table.slots[0], 0)
        tokens = sequence.tokens[: -_least_read(sequence)]
        match = self.table.match(tokens, sequence.salt, exact=sequence.reproducible)
        if self._cache.copies or self.table.continues(match):
            return match
        return Match(match.slot, 0)

    def _kept(self, sequence: Sequence) -> int:
        """How many tokens of the sequence are kept outside the slots."""
        if self.prefixes is None or sequence.prompt_logprobs is not None:
            return 0
        tokens = sequence.tokens[: -_least_read(sequence)]
        return self.prefixes.known(tokens, sequence.salt, exact=sequence.reproducible)

    @staticmethod
    def _worth_waiting(sequence: Sequence, known: int, running: Iterable[Sequence]) -> bool:
        """``known``: how many of the sequence's tokens are in the cache."""
        if sequence.prompt_logprobs is not None:
            return False
        limit = len(sequence.tokens) - _least_read(sequence)
        for other in running:
            if other.reading and other.salt == sequence.salt:
                worth = 1 if other.job is sequence.job else WORTH_WAITING
                soon = min(limit, other.job.prompt_tokens)
                if common_prefix(sequence.tokens, other.tokens, soon) >= known + worth:
                    return True
        return False


def _least_read(sequence: Sequence) -> int:
    """How many of its last tokens are computed even if the cache holds them."""
    return max(LEAST_READ, sequence.scored)


def _soon(sequence: Sequence) -> int:
    """How many tokens the sequence will soon have."""
    return len(sequence.tokens) + min(HEADROOM, sequence.max_tokens - sequence.generated)
