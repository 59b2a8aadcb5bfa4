"""Finds where the end of a text stood before. Pure.

A suffix tree answers the same question in fewer steps, but takes hundreds of bytes a token in
Python. Here each token is chained to the last place where the same one or two tokens ended, as
compressors of the LZ77 family do, and the few newest places are compared with the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

BREAK = -1  # stands between two texts, and equals no token
LONGEST = 32  # tokens that are compared
_PLACES = 24  # that are compared, the newest first
_PAIR = 2**32  # more than any token


class Occurrence(NamedTuple):
    """A place where the last tokens stood before."""

    length: int  # how many tokens are the same, at most LONGEST
    text: Sequence[int]
    next: int  # the place in ``text`` of the token that followed them


class SuffixIndex:
    """A text that grows, and where each of its tokens and pairs of tokens stood before."""

    def __init__(self) -> None:
        self.text: list[int] = []
        # The newest place of each token or pair, and for each place the one before it.
        self._tokens: dict[int, int] = {}
        self._pairs: dict[int, int] = {}
        self._before_token: list[int] = []
        self._before_pair: list[int] = []

    def __len__(self) -> int:
        return len(self.text)

    def extend(self, tokens: Iterable[int]) -> None:
        """Add ``tokens`` to the end of the text."""
        place = len(self.text)
        last = self.text[-1] if self.text else BREAK
        for token in tokens:
            self.text.append(token)
            self._before_token.append(self._tokens.get(token, -1))
            self._tokens[token] = place
            pair = last * _PAIR + token
            self._before_pair.append(self._pairs.get(pair, -1))
            self._pairs[pair] = place
            last = token
            place += 1

    def occurrences(self, end: Sequence[int]) -> list[Occurrence]:
        """Where the last tokens of ``end`` stood, the newest first: two of them if they did, else
        one. Places behind which nothing stands are left out."""
        if not end or end[-1] == BREAK:
            return []
        found: list[Occurrence] = []
        if len(end) > 1 and end[-2] != BREAK:
            newest = self._pairs.get(end[-2] * _PAIR + end[-1], -1)
            found = self._compare(end, newest, self._before_pair)
        return found or self._compare(end, self._tokens.get(end[-1], -1), self._before_token)

    def _compare(self, end: Sequence[int], place: int, before: Sequence[int]) -> list[Occurrence]:
        text, found = self.text, list[Occurrence]()
        following = len(text) - 1  # behind the last place nothing stands
        while place >= 0 and len(found) < _PLACES:
            if place < following and text[place + 1] != BREAK:
                found.append(Occurrence(self._length(end, place), text, place + 1))
            place = before[place]
        return found

    def _length(self, end: Sequence[int], place: int) -> int:
        """How many of the last tokens of ``end`` stand at ``place`` and before it."""
        text, length = self.text, 0
        most = min(len(end), place + 1, LONGEST)
        while length < most and text[place - length] == end[-1 - length] != BREAK:
            length += 1
        return length
