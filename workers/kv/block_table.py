"""Which blocks of a device's memory hold the keys and values of each row. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NO_BLOCK = -1


class OutOfBlocksError(RuntimeError):
    """No block is free."""


class BlockTable:
    """Gives blocks to rows as they grow, and takes them back."""

    def __init__(self, rows: int, blocks: int, block: int) -> None:
        """``block``: the positions of a block."""
        self.block = block
        self._free = list(range(blocks - 1, -1, -1))
        self._rows: list[list[int]] = [[] for _ in range(rows)]

    @property
    def free(self) -> int:
        """How many blocks no row has."""
        return len(self._free)

    def grow(self, row: int, length: int) -> None:
        """Give the row blocks for ``length`` positions. Raises OutOfBlocksError."""
        mine = self._rows[row]
        missing = self._blocks(length) - len(mine)
        if missing > len(self._free):
            raise OutOfBlocksError(f"{missing} blocks are wanted and {len(self._free)} are free")
        for _ in range(missing):
            mine.append(self._free.pop())

    def forget(self, row: int) -> None:
        """Take all blocks of the row back."""
        self._free.extend(reversed(self._rows[row]))
        self._rows[row] = []

    def table(self, rows: Sequence[int]) -> NDArray[np.int32]:
        """The blocks of these rows, in order: ``[rows, most blocks of one]``."""
        found = [self._rows[row] for row in rows]
        table = np.full((len(found), max(map(len, found))), NO_BLOCK, np.int32)
        for place, blocks in enumerate(found):
            table[place, : len(blocks)] = blocks
        return table

    def _blocks(self, length: int) -> int:
        return -(-length // self.block)


def blocks_for(positions: int, rows: int, block: int) -> int:
    """How many blocks always suffice for rows that have so many positions in all.

    The last block of each row may be partly empty.
    """
    return -(-positions // block) + rows
