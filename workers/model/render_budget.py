"""Limits the work of a chat template, whose code comes with the model and is not trusted.

A template can neither be interrupted nor killed where it runs. So it counts its own work: the
rounds of loops, the calls and filters, and the size of what they read and make. Between two counts
there is only one operation on values of limited size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MAX_RENDERED = 8 * 1024 * 1024  # characters; a template that makes more has gone wrong
_FULL_UNITS, _FULL_SECONDS = 10_000_000, 10.0
_SMALL_UNITS, _SMALL_SECONDS = 20_000, 0.1
_CHARACTERS_PER_UNIT = 256
_UNITS_PER_LOOK = 1024  # between two looks at the clock
_MAX_NUMBER = 10**1000


class BudgetSpentError(Exception):
    """There is more work than this budget allows."""


class CancelledError(Exception):
    """Nobody waits for the result any more."""


class RenderBudget:
    """How much work one rendering may do. A unit takes about a microsecond."""

    def __init__(
        self,
        units: int,
        seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
        *,
        final: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``final``: the rendering will not be tried again with a larger budget."""
        self.final = final
        self._left = units
        self._next_look = units
        self._seconds = seconds
        self._until: float | None = None
        self._cancelled = cancelled
        self._clock = clock

    def spend(self, units: int) -> None:
        """Count work. Raises BudgetSpentError or CancelledError."""
        self._left -= units
        if self._left < 0:
            raise BudgetSpentError
        if self._left <= self._next_look:
            self._next_look = self._left - _UNITS_PER_LOOK
            self._look()

    def counted(self, values: Iterable[Any]) -> Iterator[Any]:
        """The values, of which each is counted."""
        for value in values:
            self.spend(1)
            yield value

    def weigh(self, value: Any) -> None:
        """Count a value that is read or was made."""
        self.spend(1 + _weight(value))

    def _look(self) -> None:
        if self._cancelled():
            raise CancelledError
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        if now > self._until:
            raise BudgetSpentError


def full_budget(cancelled: Callable[[], bool] = lambda: False) -> RenderBudget:
    """What a template may do at most. 8 MB of short messages need a third of it."""
    return RenderBudget(_FULL_UNITS, _FULL_SECONDS, cancelled)


def small_budget() -> RenderBudget:
    """What it may do between two steps of a model. Usual conversations need a tenth of it."""
    return RenderBudget(_SMALL_UNITS, _SMALL_SECONDS, final=False)


def _weight(value: Any) -> int:
    if isinstance(value, str | bytes):
        if len(value) > MAX_RENDERED:
            raise BudgetSpentError
        return len(value) // _CHARACTERS_PER_UNIT
    if isinstance(value, list | tuple | dict | range | set | frozenset):
        return len(value)
    return 0


def checked_operation(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation that would take long or make a huge value. Raises BudgetSpentError."""
    if operator == "**" and not (abs(left) <= _MAX_NUMBER and abs(right) <= 1000):
        raise BudgetSpentError
    if operator == "*":
        for value, count in ((left, right), (right, left)):
            if isinstance(value, int) and not -_MAX_NUMBER <= value <= _MAX_NUMBER:
                raise BudgetSpentError
            is_sized = isinstance(value, str | bytes | list | tuple)
            if is_sized and isinstance(count, int) and len(value) * count > MAX_RENDERED:
                raise BudgetSpentError
