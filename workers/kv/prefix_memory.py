"""Keys and values that are kept outside the rows, in blocks of a few positions.

Rows are for running: a new sequence overwrites one. What should outlive that is copied here, and
back into some row when a prompt begins like it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.page_memory import PAGE_BYTES, AnonymousMemory

BLOCK = 16  # positions


class PrefixMemory:
    """Blocks ``[layers, keys and values, heads, BLOCK, head size]``, each in a numbered place.

    A place takes memory once it has been written.
    """

    def __init__(self, cache: KeyValueCache, max_bytes: int) -> None:
        """``cache``: whose rows are kept."""
        shape = cache.shape
        self._cache = cache
        self.block_bytes = BLOCK * shape.bytes_per_token
        self.places = max_bytes // self.block_bytes
        self._memory = AnonymousMemory(max(PAGE_BYTES, self.places * self.block_bytes))
        dims = (self.places, shape.layers, 2, shape.heads, BLOCK, shape.head_size)
        buffer = self._memory.buffer
        self._blocks = np.frombuffer(buffer, shape.dtype, math.prod(dims)).reshape(dims)

    def save(self, row: int, block: int, place: int) -> None:
        """Copy a row's positions from ``block * BLOCK`` on to a place."""
        self._blocks[place] = self.row_view(row, block)

    def load(self, row: int, places: Sequence[int], start: int) -> None:
        """Copy the blocks of a beginning to a row, from the position ``start`` on.

        No other row may share the row's memory there.
        """
        first = start // BLOCK
        self.fill(row, first, [self._blocks[place] for place in places[first:]], start)

    def fill(self, row: int, first: int, blocks: Sequence[NDArray[np.generic]], start: int) -> None:
        """The same with blocks that lie elsewhere, of which the first is the block ``first``."""
        self._cache.versions[row] += 1
        for number, block in enumerate(blocks, first):
            end = (number + 1) * BLOCK
            if (at := max(start, number * BLOCK)) < end:
                self._cache.array[:, :, row, :, at:end] = block[..., BLOCK - (end - at) :, :]

    def row_view(self, row: int, block: int) -> NDArray[np.generic]:
        """A row's positions from ``block * BLOCK`` on."""
        at = block * BLOCK
        view: NDArray[np.generic] = self._cache.array[:, :, row, :, at : at + BLOCK]
        return view

    def empty(self) -> NDArray[np.generic]:
        """A block with a memory of its own."""
        return np.empty(self._blocks.shape[1:], self._blocks.dtype)

    def view(self, place: int) -> NDArray[np.generic]:
        """The keys and values in a place, which may be written."""
        block: NDArray[np.generic] = self._blocks[place]
        return block

    def give_back(self) -> None:
        """Return the memory of all places to the system. They read as zeros then."""
        self._memory.give_back(0, len(self._memory.buffer))
