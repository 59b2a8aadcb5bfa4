"""Which row's own pages each row of the K/V cache shows. Pure.

Every row has pages of its own for its whole length. A row that begins like another shows the
other's pages instead, so that what both share lies in memory once. Pages that others show are not
written: their owner hands them over first. Rows show their own pages wherever others show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Owners whose pages a row shows in turn. Every change of owner cuts the row's mappings in two, and
# a process may have some 65,000 mappings (Linux's vm.max_map_count).
MOST_OWNERS = 2


class Show(NamedTuple):
    """From now on ``row`` shows the own pages of ``owner``, pages ``first`` to ``end``."""

    row: int
    owner: int
    first: int
    end: int


class Copy(NamedTuple):
    """The contents of ``source`` go to ``target``, each of which shows its own pages there."""

    source: int
    target: int
    first: int
    end: int


class Free(NamedTuple):
    """Nobody shows these own pages of ``row`` any more."""

    row: int
    first: int
    end: int


Change = Show | Copy | Free


class PageTable:
    """The methods give the changes to be made to the memory, in order."""

    def __init__(self, rows: int, pages: int) -> None:
        self.pages = pages
        self._owner = np.repeat(np.arange(rows)[:, None], pages, axis=1)

    @property
    def borrowed(self) -> int:
        """Pages that all rows together show of others."""
        return int((self._owner != np.arange(len(self._owner))[:, None]).sum())

    def lenders(self) -> frozenset[int]:
        """Rows whose own pages others show."""
        others = self._owner != np.arange(len(self._owner))[:, None]
        return frozenset(self._owner[others].tolist())

    def borrows(self, row: int, first: int) -> bool:
        """Whether the row shows pages from ``first`` on that are not its own."""
        return bool((self._owner[row, first:] != row).any())

    def saved(self, counts: Mapping[int, int]) -> int:
        """Pages that need no memory because another row shows the same.

        ``counts``: rows, and how many of its first pages each has in use.
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
        """``target`` shows what ``source`` shows in its first ``pages``, and its own behind them.

        Returns how many pages that came to, which may be fewer.
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
        """The pages from ``first`` on are to be written: only ``row`` shows them, and they are its
        own. ``keep``: what ``row`` shows in the first of them is still wanted there."""
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
        """Who else shows these own pages of ``row`` gets a copy, one for all of them."""
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
        """Runs of pages in which no row changes the owner."""
        owners = self._owner[:, first:end]
        cuts = np.flatnonzero((owners[:, 1:] != owners[:, :-1]).any(axis=0)) + first + 1
        return pairwise([first, *map(int, cuts), end]) if first < end else ()
