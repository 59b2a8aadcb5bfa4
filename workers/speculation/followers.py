"""Which token follows the places where a text stood before. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cupola.workers.speculation.draft_history import Source
from cupola.workers.speculation.suffix_index import BREAK, Occurrence

_CLASSES = (1, 2, 3, 5, 8, 15, 31)  # of how many tokens repeat: at most so many


class Follower(NamedTuple):
    """A token that may follow."""

    token: int
    source: Source
    share: float  # of the places like its own behind which it stands, one place more counted


class Followers:
    """The places at which a draft may go on. They become fewer with each of its tokens."""

    def __init__(self, own: Iterable[Occurrence], earlier: Iterable[Occurrence]) -> None:
        """``own``: places in the sequence itself; ``earlier``: in earlier answers."""
        self._places = [(True, place) for place in own] + [(False, place) for place in earlier]

    def best(self) -> Follower | None:
        """What followed where most tokens repeat; of several, what followed most often."""
        found: dict[int, tuple[int, int, bool]] = {}  # longest repetition, times, own
        for own, (length, text, next_) in self._places:
            longest, times, is_own = found.get(token := text[next_], (0, 0, False))
            found[token] = max(longest, length), times + 1, is_own or own
        if not found:
            return None
        token, (longest, times, own) = max(found.items(), key=lambda each: each[1][:2])
        class_ = _class(longest)
        others = sum(
            count
            for other, (length, count, _) in found.items()
            if other != token and _class(length) >= class_
        )
        source = own, class_, min(times, 3), min(others, 2)
        return Follower(token, source, times / (times + others + 1))

    def follow(self, token: int) -> None:
        """The draft has one more token."""
        self._places = [
            (own, Occurrence(length + 1, text, next_ + 1))
            for own, (length, text, next_) in self._places
            if text[next_] == token and next_ + 1 < len(text) and text[next_ + 1] != BREAK
        ]


def _class(length: int) -> int:
    return sum(length > most for most in _CLASSES)
