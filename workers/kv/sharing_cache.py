"""Keys and values whose rows share the memory of a common beginning.

PagedAttention (arXiv 2309.06180) uses block tables for this. Here the system's page tables do it:
pages of several rows are the same memory. So a shared prompt takes its memory once, and is read
into the processor's caches once for all rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from cupola.workers.graph.attention_layers import KeyValueShape
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.page_memory import SharedMemory
from cupola.workers.kv.page_table import MOST_OWNERS, Change, Copy, PageTable, Show

logger = logging.getLogger(__name__)

# A process may have 65,530 mappings (Linux's vm.max_map_count), and a worker may hold several
# models.
MOST_MAPPINGS = 16_000

# Fewer positions are copied. To share pages takes some system calls for every layer and head, and
# gives back warm pages of the row.
WORTH_SHARING = 128


def key_value_cache(shape: KeyValueShape, rows: int, capacity: int) -> KeyValueCache:
    """A cache whose rows share memory if the system can do that, else a plain one."""
    if SharedMemory.available() and _mappings(shape, MOST_OWNERS) <= MOST_MAPPINGS:
        try:
            return SharingCache(shape, rows, capacity)
        except OSError as error:
            logger.warning("prompts that begin alike do not share memory: %s", error)
    return KeyValueCache(shape, rows, capacity)


def _mappings(shape: KeyValueShape, stretches: int) -> int:
    """How many mappings it takes to show so many stretches of pages where others own them."""
    return 2 * shape.layers * shape.heads * (2 * stretches + 1)


class SharingCache(KeyValueCache):
    """See ``kv_cache.KeyValueCache``."""

    memory: SharedMemory

    def __init__(self, shape: KeyValueShape, rows: int, capacity: int) -> None:
        """Raises OSError."""
        super().__init__(shape, rows, capacity, SharedMemory)
        self._table = PageTable(rows, self.capacity // self.page)
        self._head_bytes = self._row_bytes // shape.heads
        self._page_bytes = self._head_bytes // self._table.pages

    @property
    def shared_bytes(self) -> int:
        heads = 2 * self.shape.layers * self.shape.heads
        return self._table.borrowed * heads * self._page_bytes

    def copy(self, source: int, target: int, length: int) -> None:
        """Share whole pages if there are many; copy the rest."""
        self.versions[target] += 1
        mappings = _mappings(self.shape, self._table.stretches + MOST_OWNERS)
        worth = length >= WORTH_SHARING and mappings <= MOST_MAPPINGS
        wanted = length // self.page if worth else 0
        pages, changes = self._table.share(source, target, wanted)
        self._apply(changes)
        self._copy(source, target, pages * self.page, length)

    def claim(self, row: int, position: int) -> None:
        page, within = divmod(position, self.page)
        self._apply(self._table.claim(row, page, keep=within > 0))

    def forget(self, row: int) -> None:
        self.claim(row, 0)
        super().forget(row)

    def lenders(self) -> frozenset[int]:
        return self._table.lenders()

    def borrows(self, row: int, position: int) -> bool:
        return self._table.borrows(row, position // self.page)

    def positions(self, lengths: Mapping[int, int]) -> int:
        pages = {row: length // self.page for row, length in lengths.items()}
        return super().positions(lengths) - self.page * self._table.saved(pages)

    def _apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change, Copy):
                start, end = change.first * self.page, change.end * self.page
                self._copy(change.source, change.target, start, end)
                continue
            size = (change.end - change.first) * self._page_bytes
            for at in self._places(change.first):
                own = at + change.row * self._row_bytes
                if isinstance(change, Show):
                    self.memory.show(own, at + change.owner * self._row_bytes, size)
                else:
                    self.memory.give_back(own, size)

    def _places(self, page: int) -> Iterator[int]:
        """Where the page lies in the first row: for each layer, keys and values, each head."""
        for part in range(2 * self.shape.layers):
            for head in range(self.shape.heads):
                yield (part * self._part_bytes + head * self._head_bytes + page * self._page_bytes)
