"""The slots of the K/V cache: which are free, and what finished sequences have left in them.

A finished sequence leaves its keys and values in its slot, for the next prompt with the same
beginning. The slot is free. A prompt that continues what is there takes the slot over in place. A
prompt that shares only a beginning copies that. The least recently used slots are evicted first.
Running slots need not be contiguous: an idle one between them has no cost that can be measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# A copy takes as long as it takes to read some tokens.
WORTH_COPYING = 16


class Match(NamedTuple):
    """The slot that holds the longest beginning of a prompt."""

    slot: Slot
    length: int  # tokens; may be 0


@dataclass(slots=True, eq=False)
class Slot:
    """A row of the cache."""

    index: int
    tokens: Sequence[int] = ()  # the first ``length`` of them are in the cache
    length: int = 0
    # So many of those have the keys and values that they always have. The others were computed for
    # requests that need not be reproducible, and may differ in the last bits.
    exact: int = 0
    salt: str = ""
    running: bool = False
    used_at: int = 0
    replaceable: bool = False  # another slot that is not replaceable holds what matters of it
    touched: int = field(default=0)  # positions whose memory is committed

    def common(self, tokens: Sequence[int], salt: str, *, exact: bool = False) -> int:
        """How many of the first tokens of a prompt are in this slot.

        ``exact``: count only keys and values that are always the same.
        """
        if salt != self.salt:
            return 0
        known = self.exact if exact else self.length
        return common_prefix(tokens, self.tokens, min(len(tokens), known))


class SlotTable:
    """Keeps what each slot holds. Pure: the caller copies, and gives memory back."""

    def __init__(self, slots: int) -> None:
        self.slots = [Slot(index) for index in range(slots)]
        self._clock = 0

    @property
    def free(self) -> int:
        """How many slots are free."""
        return sum(not slot.running for slot in self.slots)

    def match(self, tokens: Sequence[int], salt: str, *, exact: bool = False) -> Match:
        """The slot with the longest common beginning. Of equal ones a free one, then the lowest.

        A replaceable one comes first if little more is known elsewhere: it needs no copy.
        ``exact``: see ``Slot.common``.
        """
        found = [
            (slot.common(tokens, salt, exact=exact), not slot.running, -slot.index)
            for slot in self.slots
        ]
        length, _, index = max(found)
        best = Match(self.slots[-index], length)
        in_place = [each for each in found if self.slots[-each[2]].replaceable and each[0]]
        if self.continues(best) or not in_place:
            return best
        length, _, index = max(in_place)
        return best if length + WORTH_COPYING <= best.length else Match(self.slots[-index], length)

    def take(self, match: Match, lenders: Collection[int] = (), limit: int | None = None) -> Slot:
        """Take a free slot to run in. The caller copies the match if it lies in another slot.

        The matched slot is taken over in place if nothing that matters would be lost. Else it is
        kept for other prompts, and the least recently used slot is taken. Slots in ``lenders``
        come last, because others share their memory. Only the first ``limit`` slots are taken as
        long as one of them is free, because a run covers all slots between the first and the last.
        Raises IndexError when no slot is free.
        """
        if self.continues(match):
            slot = match.slot
        else:
            free = [slot for slot in self.slots[:limit] if not slot.running]
            free = free or [slot for slot in self.slots if not slot.running]
            if not free:
                raise IndexError("no slot is free")
            # An empty slot before one that holds something, and both before the match itself.
            keep = match.slot if match.length else None
            slot = min(
                free,
                key=lambda s: (
                    s is keep,
                    s.length > 0,
                    s.index in lenders,
                    not s.replaceable,
                    s.used_at,
                    s.index,
                ),
            )
        slot.running = True
        return slot

    @staticmethod
    def continues(match: Match) -> bool:
        """Whether the matched slot is free, and taking it over loses nothing that matters."""
        slot = match.slot
        nothing_lost = slot.replaceable or match.length >= slot.length - 1
        return not slot.running and match.length > 0 and nothing_lost

    def start(self, slot: Slot, tokens: Sequence[int], match: Match, salt: str) -> None:
        """A sequence begins in ``slot``, and what has been matched of its tokens lies there."""
        slot.replaceable = False
        slot.exact = min(match.slot.exact, match.length)
        slot.tokens, slot.length, slot.salt = tokens, match.length, salt
        slot.touched = max(slot.touched, match.length)

    def extend(self, slot: Slot, count: int, beyond: int = 0, *, exact: bool = False) -> None:
        """``count`` more tokens are in the cache, and ``beyond`` places more have been written."""
        if exact and slot.exact == slot.length:
            slot.exact += count
        slot.length += count
        slot.touched = max(slot.touched, slot.length + beyond)

    def shorten(self, slot: Slot, length: int) -> None:
        """Only the first ``length`` tokens are good any more; the caller writes behind them."""
        slot.length = length
        slot.exact = min(slot.exact, length)

    def release(self, slot: Slot, copied: int = 0) -> None:
        """Free the slot. What its sequence has computed stays for others.

        ``copied``: so many of its first tokens matter, and may be in another slot as well. Then
        this one is taken first.
        """
        self._clock += 1
        slot.tokens = tuple(slot.tokens[: slot.length])
        copied = min(copied, slot.length)
        exact = slot.exact >= copied
        slot.replaceable = copied > 0 and any(
            other is not slot
            and not other.replaceable
            and other.common(slot.tokens[:copied], slot.salt, exact=exact) == copied
            for other in self.slots
        )
        slot.running, slot.used_at = False, self._clock

    def forget(self, slot: Slot) -> None:
        """Record that the slot is empty and its memory is given back."""
        slot.tokens, slot.length, slot.exact, slot.touched = (), 0, 0, 0

    def stale(self, lenders: Collection[int] = ()) -> Slot | None:
        """The free slot to evict next; None if no free slot has memory to give back."""
        held = [slot for slot in self.slots if not slot.running and slot.touched]
        return min(
            held, key=lambda s: (s.index in lenders, not s.replaceable, s.used_at), default=None
        )


def common_prefix(one: Sequence[int], other: Sequence[int], limit: int) -> int:
    """Length of the common beginning, at most ``limit``. It bisects by comparing slices."""
    if limit <= 0 or one[0] != other[0]:
        return 0
    low, high = 1, limit  # the first ``low`` are equal
    while low < high:
        middle = (low + high + 1) // 2
        if tuple(one[low:middle]) == tuple(other[low:middle]):
            low = middle
        else:
            high = middle - 1
    return low
