"""What an engine may do with the keys and values of its sequences, of which each has a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Rows(ABC):
    copies = False  # whether ``copy`` works
    bytes_per_token: int  # 0: unknown, and not counted

    def copy(self, source: int, target: int, length: int) -> None:
        """The first ``length`` positions of one row become those of another as well."""
        raise NotImplementedError("these rows cannot be copied")

    def claim(self, row: int, position: int) -> None:
        """Positions from ``position`` on are about to be written: no other row may lie there.

        Not needed after ``copy``, which does it for the target.
        """
        return

    @abstractmethod
    def forget(self, row: int) -> None:
        """Give a row's memory back."""

    def lenders(self) -> frozenset[int]:
        """Rows in whose memory positions of others lie: to write there takes a copy first."""
        return frozenset()

    def borrows(self, row: int, position: int) -> bool:
        """Whether positions from ``position`` on lie in the memory of another row."""
        return False

    @property
    def shared_bytes(self) -> int:
        """How much memory the system counts as resident once more for each row that shares it."""
        return 0

    def positions(self, lengths: Mapping[int, int]) -> int:
        """Positions that rows of such lengths have in memory; what they share counts once."""
        return sum(lengths.values())
