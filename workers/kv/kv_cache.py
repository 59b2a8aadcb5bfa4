"""The memory of keys and values: two arrays ``[slots, heads, capacity, size]`` for each layer."""

from __future__ import annotations

import math

import numpy as np

from cupola.workers.graph.attention_layers import KeyValueShape
from cupola.workers.kv.kv_store import KVStore
from cupola.workers.kv.page_memory import PAGE_BYTES, AnonymousMemory, SharedMemory


class KeyValueCache(KVStore):
    """Keys and values in the machine's memory. A position takes memory once it has been written.

    The pages are small on purpose. A row of a long context is so large that huge pages would commit
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
        self.versions = [0] * slots  # changes when a row is copied to or forgotten
        self._row_bytes = shape.heads * self.capacity * position
        dims = (shape.layers, 2, slots, shape.heads, self.capacity, shape.head_size)
        self._part_bytes = slots * self._row_bytes
        self.memory = memory(2 * shape.layers * self._part_bytes)
        # [layers, keys and values, slots, heads, capacity, head size]
        self.array = np.frombuffer(self.memory.buffer, shape.dtype, math.prod(dims)).reshape(dims)

    def place(
        self, layer: int, part: int, rows: range
    ) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
        """Where the keys (part 0) or values (part 1) of some rows lie.

        Memory, device, type, shape and address, as a binding takes them.
        """
        those = self.array[layer, part, rows.start : rows.stop]
        return "cpu", 0, those.dtype.type, those.shape, those.ctypes.data

    def copy(self, source: int, target: int, length: int) -> None:
        self.versions[target] += 1
        self._copy(source, target, 0, length)

    def touch(self, row: int, start: int, end: int) -> None:
        self.claim(row, start)
        self.array[:, :, row, :, start:end] = 0

    def forget(self, row: int) -> None:
        """Give the row's memory back; it reads as zeros afterwards."""
        self.versions[row] += 1
        for part in range(2 * self.shape.layers):
            start = part * self._part_bytes + row * self._row_bytes
            self.memory.give_back(start, self._row_bytes)

    def _copy(self, source: int, target: int, start: int, end: int) -> None:
        for layer in self.array:
            layer[:, target, :, start:end] = layer[:, source, :, start:end]
