"""What an engine may do with the keys and values of its sequences. Each sequence has a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping


class KVStore(ABC):
    """Keys and values in rows. A row has a position for each token."""

    copies = False  # whether ``copy`` works
    gives_back = True  # whether ``forget`` frees memory for others
    bytes_per_token: int  # 0: unknown, so memory is not counted

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of the row ``source`` to the row ``target``."""
        raise NotImplementedError("these rows cannot be copied")

    def claim(self, row: int, position: int) -> None:
        """Prepare to write positions from ``position`` on: no other row may share their memory.

        ``copy`` does this for its target.
        """
        return

    def touch(self, row: int, start: int, end: int) -> None:
        """Take memory for positions of an empty row, so that the first write is not slow."""
        return

    @abstractmethod
    def forget(self, row: int) -> None:
        """Give a row's memory back."""

    def lenders(self) -> frozenset[int]:
        """Rows whose memory other rows share. To write there takes a copy first."""
        return frozenset()

    def borrows(self, row: int, position: int) -> bool:
        """Whether positions of the row from ``position`` on lie in the memory of another row."""
        return False

    @property
    def shared_bytes(self) -> int:
        """Bytes that the system counts as resident again for each further row that shares them."""
        return 0

    def positions(self, lengths: Mapping[int, int]) -> int:
        """How many positions rows of these lengths (by row) have in memory.

        Positions that rows share count once.
        """
        return sum(lengths.values())
