"""Keys and values of the running sequences, and which row of them belongs to whom."""

from __future__ import annotations

import heapq

import numpy as np

from cupola.workers.machine import anonymous_memory
from cupola.workers.serving_graph import KeyValueShape


class KeyValueCache:
    """One array a layer and part: ``[slots, heads, capacity, head size]``.

    The memory of a position is committed by the system when the position is first written.
    """

    def __init__(self, shape: KeyValueShape, slots: int, capacity: int) -> None:
        self.shape = shape
        self.slots = slots
        self.capacity = capacity  # positions a row holds
        dims = (slots, shape.heads, capacity, shape.head_size)
        count = int(np.prod(dims))
        size = count * shape.dtype.itemsize
        memory = anonymous_memory(2 * shape.layers * size)
        self.arrays = tuple(
            tuple(
                np.frombuffer(memory, shape.dtype, count, (2 * layer + part) * size).reshape(dims)
                for part in range(2)
            )
            for layer in range(shape.layers)
        )


class SlotTable:
    """Free rows, lowest first: the rows in use stay a short prefix of the cache."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._free = list(range(slots))
        self._used: set[int] = set()

    def take(self) -> int:
        """The lowest free slot. Raises IndexError when there is none."""
        slot = heapq.heappop(self._free)
        self._used.add(slot)
        return slot

    def give_back(self, slot: int) -> None:
        self._used.remove(slot)
        heapq.heappush(self._free, slot)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def rows(self) -> int:
        """How many rows the grid needs to hold every slot in use."""
        return max(self._used, default=-1) + 1
