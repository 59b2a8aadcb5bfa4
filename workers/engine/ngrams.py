"""What followed each run of a few tokens: the n-grams of a text, in a fixed memory. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

_MOST = 255  # that is counted


class Followed(NamedTuple):
    token: int  # that followed last
    times: int  # it did, since another one had
    seen: int  # times that any did


class NgramTable:
    """Grams of some lengths, each in the one place that its hash says: who comes last has it."""

    def __init__(self, lengths: Sequence[int], places: int) -> None:
        """``places``: a power of 2; 14 bytes each."""
        self.lengths = tuple(lengths)
        self._mask = places - 1
        self._hashes = array("q", bytes(8 * places))
        self._tokens = array("i", bytes(4 * places))
        self._times = bytearray(places)
        self._seen = bytearray(places)

    def learn(self, text: Sequence[int], start: int, end: int) -> None:
        """``text[start:end]`` followed what stands before each of its tokens."""
        for at in range(start, end):
            for length in self.lengths:
                if length <= at:
                    self._add(tuple(text[at - length : at]), text[at])

    def find(self, gram: Sequence[int]) -> Followed | None:
        """What followed these tokens."""
        hashed = hash(tuple(gram))
        place = hashed & self._mask
        if self._hashes[place] != hashed or not self._seen[place]:
            return None
        return Followed(self._tokens[place], self._times[place], self._seen[place])

    def _add(self, gram: tuple[int, ...], token: int) -> None:
        hashed = hash(gram)
        place = hashed & self._mask
        if self._hashes[place] != hashed:
            self._hashes[place] = hashed
            self._tokens[place], self._times[place], self._seen[place] = token, 1, 1
            return
        if self._seen[place] == _MOST:  # the newer half counts for more
            self._seen[place] //= 2
            self._times[place] //= 2
        self._seen[place] += 1
        self._times[place] = self._times[place] + 1 if self._tokens[place] == token else 1
        self._tokens[place] = token
