"""The memory of keys and values: one array a layer and part, ``[slots, heads, capacity, size]``."""

from __future__ import annotations

import math

import numpy as np

from cupola.workers.attention_layers import KeyValueShape
from cupola.workers.page_memory import PAGE_BYTES, AnonymousMemory, SharedMemory
from cupola.workers.rows import Rows


class KeyValueCache(Rows):
    """The memory of a position is committed when the position is first written.

    Small pages on purpose: a row of a long context is so large that huge pages would commit
    hundreds of megabytes for a short sequence. Rows are used again, so their pages are warm.
    """

    copies = True

    def __init__(
        self,
        shape: KeyValueShape,
        slots: int,
        capacity: int,
        memory: type[AnonymousMemory | SharedMemory] = AnonymousMemory,
    ) -> None:
        """``capacity``: positions a row must hold; it is rounded up to whole pages."""
        position = shape.head_size * shape.dtype.itemsize
        self.page = PAGE_BYTES // math.gcd(PAGE_BYTES, position)  # positions that fill whole pages
        self.shape = shape
        self.bytes_per_token = shape.bytes_per_token
        self.capacity = -(-capacity // self.page) * self.page
        self._row_bytes = shape.heads * self.capacity * position
        dims = (slots, shape.heads, self.capacity, shape.head_size)
        count = math.prod(dims)
        self._part_bytes = slots * self._row_bytes
        self._memory = memory(2 * shape.layers * self._part_bytes)
        self.arrays = tuple(
            tuple(
                np.frombuffer(
                    self._memory.buffer, shape.dtype, count, (2 * layer + part) * self._part_bytes
                ).reshape(dims)
                for part in range(2)
            )
            for layer in range(shape.layers)
        )

    def place(
        self, layer: int, part: int, rows: range
    ) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
        """Where the keys (part 0) or values (1) of some rows lie, for a binding."""
        those = self.arrays[layer][part][rows.start : rows.stop]
        return "cpu", 0, those.dtype.type, those.shape, those.ctypes.data

    def copy(self, source: int, target: int, length: int) -> None:
        self._copy(source, target, 0, length)

    def forget(self, row: int) -> None:
        """The row's memory reads as zeros afterwards."""
        for part in range(2 * self.shape.layers):
            start = part * self._part_bytes + row * self._row_bytes
            self._memory.give_back(start, self._row_bytes)

    def _copy(self, source: int, target: int, start: int, end: int) -> None:
        for parts in self.arrays:
            for part in parts:
                part[target, :, start:end] = part[source, :, start:end]
