"""Finds out which sequence made a run of the model fail. Pure.

A run that fails says nothing about who is to blame, so all that were in it are suspects: the engine
starts over and runs them one at a time, until each is past what the failed run was to compute. Who
fails alone is guilty; the others go on together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

SequenceT = TypeVar("SequenceT")

# Failures in a row that none of the suspects repeats alone, after which the engine is given up.
MOST_IN_VAIN = 3


class Recovery(Generic[SequenceT]):
    """Who may run after a failure: everybody while there are no suspects, else one of them."""

    def __init__(self) -> None:
        self._marks: dict[SequenceT, int] = {}  # suspects -> tokens that acquit when cached
        self._in_vain = 0

    @property
    def suspect(self) -> SequenceT | None:
        """Who runs alone: the youngest first, so that the engine's order of arrival is kept."""
        return next(reversed(self._marks), None)

    def admits(self, sequence: SequenceT) -> bool:
        return not self._marks or sequence is self.suspect

    def failed(self, marks: Iterable[tuple[SequenceT, int]]) -> SequenceT | None:
        """A run failed that would have brought each of its sequences to so many cached tokens.

        The one that is guilty; None: that is to be found out.
        """
        if (guilty := self.suspect) is not None:
            self._in_vain = 0
            del self._marks[guilty]
            return guilty
        self._in_vain += 1
        self._marks = dict(marks)
        return None

    @property
    def hopeless(self) -> bool:
        """Whether runs go on failing though everybody passes alone."""
        return self._in_vain > MOST_IN_VAIN

    def passed(self, cached: Callable[[SequenceT], int]) -> SequenceT | None:
        """A run worked. Who is acquitted by that, if anybody: the next suspect's turn has come."""
        suspect = self.suspect
        if suspect is None:
            self._in_vain = 0
        elif cached(suspect) >= self._marks[suspect]:
            del self._marks[suspect]
            return suspect
        return None

    def forget(self, sequence: SequenceT) -> None:
        """It has left the engine."""
        self._marks.pop(sequence, None)
