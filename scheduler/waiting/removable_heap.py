"""A heap from which any item can be taken out. Pure.

An item that is taken out leaves an entry behind, which is dropped when it comes to the top, or when
most entries are of that kind. So every operation costs the logarithm of the size, on average.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT", bound=Hashable)
Key = tuple[float, ...]

_SMALL = 16  # so many left entries are never worth a clean-up


class RemovableHeap(Generic[ItemT]):
    """Items with keys, the lowest key first. Of equal keys, the one that came first."""

    def __init__(self) -> None:
        self._entries: list[tuple[Key, int, ItemT]] = []
        self._current: dict[ItemT, int] = {}  # the number of each item's entry
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, item: object) -> bool:
        return item in self._current

    def __iter__(self) -> Iterator[ItemT]:
        """In no order."""
        return iter(tuple(self._current))

    def push(self, item: ItemT, key: Key) -> None:
        """Add an item, or give it another key."""
        number = self._current[item] = next(self._numbers)
        heappush(self._entries, (key, number, item))
        if len(self._entries) > 2 * len(self._current) + _SMALL:
            self._clean()

    def remove(self, item: ItemT) -> None:
        """Take an item out, if it is there."""
        if self._current.pop(item, None) is None:
            return
        if len(self._entries) > 2 * len(self._current) + _SMALL:
            self._clean()

    def first(self) -> tuple[ItemT, Key] | None:
        """The item with the lowest key, and the key; None: there is no item."""
        while self._entries:
            key, number, item = self._entries[0]
            if self._current.get(item) == number:
                return item, key
            heappop(self._entries)
        return None

    def _clean(self) -> None:
        self._entries = [e for e in self._entries if self._current.get(e[2]) == e[1]]
        heapify(self._entries)
