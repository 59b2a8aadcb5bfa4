"""The pieces of a file that are loaded side by side, and how much of each is there. Pure."""

from __future__ import annotations

import msgspec

PIECE = 32 << 20  # bytes: so large that a request more does not matter, so small that a few share


class Piece(msgspec.Struct, array_like=True, eq=False):
    """Bytes ``start`` to ``end`` (exclusive); the first ``done`` of them are on the disk."""

    start: int
    end: int | None  # None: the end is not known, and the server cannot begin in the middle
    done: int = 0

    @property
    def at(self) -> int:
        """Where the next byte belongs."""
        return self.start + self.done

    @property
    def left(self) -> int | None:
        return None if self.end is None else self.end - self.at

    @property
    def complete(self) -> bool:
        return self.left == 0


def cut(size: int, piece: int = PIECE) -> list[Piece]:
    """The pieces of a file of ``size`` bytes. An empty file has none."""
    return [Piece(start, min(start + piece, size)) for start in range(0, size, piece)]


def are_of(pieces: list[Piece], size: int) -> bool:
    """Whether the pieces make up a file of ``size`` bytes and none is more than complete."""
    at = 0
    for piece in pieces:
        if piece.start != at or piece.end is None or not 0 <= piece.done <= piece.end - at:
            return False
        at = piece.end
    return at == size
