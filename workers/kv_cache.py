"""The memory of keys and values: one array a layer and part, ``[slots, heads, capacity, size]``."""

from __future__ import annotations

import math

import numpy as np

from cupola.workers.attention_layers import KeyValueShape
from cupola.workers.machine import PAGE_BYTES, anonymous_memory, give_back


class KeyValueCache:
    """The memory of a position is committed when the position is first written.

    Small pages on purpose: a row of a long context is so large that huge pages would commit
    hundreds of megabytes for a short sequence. Rows are used again, so their pages are warm.
    """

    copies = True  # one row's contents to another

    def __init__(self, shape: KeyValueShape, slots: int, capacity: int) -> None:
        """``capacity``: positions a row must hold; it is rounded up to whole pages."""
        row = shape.head_size * shape.dtype.itemsize
        step = PAGE_BYTES // math.gcd(PAGE_BYTES, row)
        self.shape = shape
        self.bytes_per_token = shape.bytes_per_token
        self.capacity = -(-capacity // step) * step
        self._slot_bytes = shape.heads * self.capacity * row
        dims = (slots, shape.heads, self.capacity, shape.head_size)
        count = math.prod(dims)
        self._part_bytes = slots * self._slot_bytes
        self._memory = anonymous_memory(2 * shape.layers * self._part_bytes)
        self.arrays = tuple(
            tuple(
                np.frombuffer(
                    self._memory, shape.dtype, count, (2 * layer + part) * self._part_bytes
                ).reshape(dims)
                for part in range(2)
            )
            for layer in range(shape.layers)
        )

    def place(
        self, layer: int, part: int, depth: int
    ) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
        """Where the keys (part 0) or values (1) of the first ``depth`` rows lie, for a binding."""
        head = self.arrays[layer][part][:depth]
        return "cpu", 0, head.dtype.type, head.shape, head.ctypes.data

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of one row to another."""
        for parts in self.arrays:
            for part in parts:
                part[target, :, :length] = part[source, :, :length]

    def forget(self, slot: int) -> None:
        """Give a row's memory back to the system; it reads as zeros afterwards."""
        for part in range(2 * self.shape.layers):
            start = part * self._part_bytes + slot * self._slot_bytes
            give_back(self._memory, start, self._slot_bytes)
