"""Finds out which sequence made a run of the model fail. Pure.

A run that fails does not say which sequence is to blame. So all sequences of the run are suspects.
The engine starts over and runs them one at a time, until each is past the tokens of the failed run.
A sequence that fails alone is guilty. The others go on together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

SequenceT = TypeVar("SequenceT")

# Failures in a row that no suspect repeats alone. With one more, the engine is given up.
MAX_UNEXPLAINED = 3


class Recovery(Generic[SequenceT]):
    """Which sequences may run after a failure: one suspect at a time, all if there is none."""

    def __init__(self) -> None:
        self._marks: dict[SequenceT, int] = {}  # cached tokens that acquit each suspect
        self._unexplained = 0

    @property
    def suspect(self) -> SequenceT | None:
        """The sequence that runs alone; the youngest first, which keeps the order of arrival."""
        return next(reversed(self._marks), None)

    def admits(self, sequence: SequenceT) -> bool:
        """Whether the sequence may run now."""
        return not self._marks or sequence is self.suspect

    def failed(self, marks: Iterable[tuple[SequenceT, int]]) -> SequenceT | None:
        """A run failed. ``marks``: its sequences, and how many cached tokens each would have had.

        Returns the guilty sequence; None: it must be found out.
        """
        if (guilty := self.suspect) is not None:
            self._unexplained = 0
            del self._marks[guilty]
            return guilty
        self._unexplained += 1
        self._marks = dict(marks)
        return None

    @property
    def hopeless(self) -> bool:
        """Whether runs fail again and again though each sequence passes alone."""
        return self._unexplained > MAX_UNEXPLAINED

    def passed(self, cached: Callable[[SequenceT], int]) -> SequenceT | None:
        """A run worked. Returns the suspect that it acquits, if any; the next suspect follows."""
        suspect = self.suspect
        if suspect is None:
            self._unexplained = 0
        elif cached(suspect) >= self._marks[suspect]:
            del self._marks[suspect]
            return suspect
        return None

    def forget(self, sequence: SequenceT) -> None:
        """The sequence has left the engine."""
        self._marks.pop(sequence, None)
