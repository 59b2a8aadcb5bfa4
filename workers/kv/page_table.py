"""Which row's pages each row of the K/V cache shows. Pure.

Every row owns pages for its whole length. A row that begins like another one shows that row's pages
instead, so that the common beginning lies in memory once. Pages that other rows show are not
written: their owner gives them a copy first. If other rows show a page, so does its owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# The most owners whose pages one row shows. Each change of owner cuts the row's mappings in two,
# and a process may have about 65,000 mappings (Linux's vm.max_map_count).
MOST_OWNERS = 2


class Show(NamedTuple):
    """From now on ``row`` shows the pages ``first`` to ``end`` that ``owner`` owns."""

    row: int
    owner: int
    first: int
    end: int


class Copy(NamedTuple):
    """Copy pages from ``source`` to ``target``. Each of the two shows its own pages there."""

    source: int
    target: int
    first: int
    end: int


class Free(NamedTuple):
    """No row shows these pages, which ``row`` owns, any more."""

    row: int
    first: int
    end: int


Change = Show | Copy | Free


class PageTable:
    """Keeps the owner of each page shown. Its methods return changes for the memory, in order."""

    def __init__(self, rows: int, pages: int) -> None:
        self.pages = pages
        self._owner = np.repeat(np.arange(rows)[:, None], pages, axis=1)

    @property
    def borrowed(self) -> int:
        """How many pages all rows together show that they do not own."""
        return int((self._owner != np.arange(len(self._owner))[:, None]).sum())

    @property
    def stretches(self) -> int:
        """How many stretches of pages all rows together show that one other row owns."""
        before = np.roll(self._owner, 1, axis=1)
        before[:, 0] = np.arange(len(self._owner))
        borrowed = self._owner != np.arange(len(self._owner))[:, None]
        return int((borrowed & (self._owner != before)).sum())

    def lenders(self) -> frozenset[int]:
        """Rows that own pages which other rows show."""
        others = self._owner != np.arange(len(self._owner))[:, None]
        return frozenset(self._owner[others].tolist())

    def borrows(self, row: int, first: int) -> bool:
        """Whether the row shows any page from ``first`` on that it does not own."""
        return bool((self._owner[row, first:] != row).any())

    def saved(self, counts: Mapping[int, int]) -> int:
        """How many pages need no memory because another row shows the same page.

        ``counts``: for each row, how many of its first pages are in use.
        """
        if not self.borrowed:
            return 0
        shown = [
            self._owner[row, :count] * self.pages + np.arange(count)
            for row, count in counts.items()
        ]
        together = np.concatenate([np.empty(0, np.int64), *shown])
        return len(together) - len(np.unique(together))

    def share(self, source: int, target: int, pages: int) -> tuple[int, list[Change]]:
        """Let ``target`` show the first ``pages`` that ``source`` shows, and its own behind them.

        Returns how many pages are shared, which may be fewer, and the changes.
        """
        owners = self._owner[source, :pages]
        cuts = np.flatnonzero(owners[1:] != owners[:-1]) + 1
        if len(cuts) >= MOST_OWNERS:
            pages = int(cuts[MOST_OWNERS - 1])
        changes: list[Change] = []
        for first, end in self._stretches(0, pages):
            owner = int(self._owner[source, first])
            if owner != target:
                changes += self._hand_over(target, first, end)
                changes += self._show(target, owner, first, end)
        return pages, changes + self.claim(target, pages)

    def claim(self, row: int, first: int, *, keep: bool = False) -> list[Change]:
        """Prepare to write the row's pages from ``first`` on: it owns them, and no other shows
        them.

        ``keep``: the contents of the page ``first`` are still wanted.
        """
        changes: list[Change] = []
        for start, end in self._stretches(first, self.pages):
            owner = int(self._owner[row, start])
            if owner == row:
                changes += self._hand_over(row, start, end)
            else:
                changes += self._show(row, row, start, end)
                if keep and start == first:
                    changes.append(Copy(owner, row, start, start + 1))
        return changes

    def _hand_over(self, row: int, first: int, end: int) -> list[Change]:
        """Give the other rows that show these pages of ``row`` one copy for all of them."""
        readers = [int(r) for r in np.flatnonzero(self._owner[:, first] == row) if r != row]
        if not readers:
            return []
        heir, *others = readers
        changes = self._show(heir, heir, first, end)
        changes.append(Copy(row, heir, first, end))
        for other in others:
            changes += self._show(other, heir, first, end)
        return changes

    def _show(self, row: int, owner: int, first: int, end: int) -> list[Change]:
        before = self._owner[row, first]
        if before == owner:
            return []
        self._owner[row, first:end] = owner
        show = Show(row, owner, first, end)
        return [Free(row, first, end), show] if before == row else [show]

    def _stretches(self, first: int, end: int) -> Iterable[tuple[int, int]]:
        """Ranges of pages within which no row changes the owner."""
        owners = self._owner[:, first:end]
        cuts = np.flatnonzero((owners[:, 1:] != owners[:, :-1]).any(axis=0)) + first + 1
        return pairwise([first, *map(int, cuts), end]) if first < end else ()
