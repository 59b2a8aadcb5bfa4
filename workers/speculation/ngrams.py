"""Which token followed each n-gram of a text, in a fixed amount of memory. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

_MAX_COUNT = 255


class Follower(NamedTuple):
    """What followed an n-gram."""

    token: int  # the one that followed last
    times: int  # how often it has followed since another token did
    seen: int  # how often any token has followed


class NgramTable:
    """A hash table of n-grams of some lengths. An n-gram replaces one that has the same place."""

    def __init__(self, lengths: Sequence[int], places: int) -> None:
        """``places``: a power of 2; each takes 14 bytes."""
        self.lengths = tuple(lengths)
        self._mask = places - 1
        self._hashes = array("q", bytes(8 * places))
        self._tokens = array("i", bytes(4 * places))
        self._times = bytearray(places)
        self._seen = bytearray(places)

    def learn(self, text: Sequence[int], start: int, end: int) -> None:
        """Count each token of ``text[start:end]`` as the follower of what stands before it."""
        for at in range(start, end):
            for length in self.lengths:
                if length <= at:
                    self._add(tuple(text[at - length : at]), text[at])

    def find(self, gram: Sequence[int]) -> Follower | None:
        """What followed these tokens; None if that is not known."""
        hashed = hash(tuple(gram))
        place = hashed & self._mask
        if self._hashes[place] != hashed or not self._seen[place]:
            return None
        return Follower(self._tokens[place], self._times[place], self._seen[place])

    def _add(self, gram: tuple[int, ...], token: int) -> None:
        hashed = hash(gram)
        place = hashed & self._mask
        if self._hashes[place] != hashed:
            self._hashes[place] = hashed
            self._tokens[place], self._times[place], self._seen[place] = token, 1, 1
            return
        if self._seen[place] == _MAX_COUNT:  # halve both, so that newer counts weigh more
            self._seen[place] //= 2
            self._times[place] //= 2
        self._seen[place] += 1
        self._times[place] = self._times[place] + 1 if self._tokens[place] == token else 1
        self._tokens[place] = token
