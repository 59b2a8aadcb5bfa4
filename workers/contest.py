"""Which of two ways to do a thing is faster here and now. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

RETRY = 50  # times that one way is taken before the other is tried again
_WEIGHT, _TRIED = 0.2, 0.5  # of the newest time in an average; of one that was not known for long


@dataclass(slots=True)
class _Known:
    averages: list[float | None]  # of the two ways
    since: int = 0  # the slower one was taken

    @property
    def better(self) -> int:
        first, second = self.averages
        return int(first is not None and (second is None or second < first))


class Contest:
    """Learns it for every kind of the thing. The slower way is tried again from time to time: a
    machine that others use, too, is not the same for long."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Known] = {}

    def choose(self, kind: Hashable) -> int:
        """The way to take, 0 or 1."""
        known = self._known.setdefault(kind, _Known([None, None]))
        return known.better if known.since < RETRY else 1 - known.better

    def observe(self, kind: Hashable, way: int, seconds: float) -> None:
        """A way that ``choose`` chose took so long, for as much work as at other times."""
        known = self._known[kind]
        weight = _TRIED if known.since >= RETRY else _WEIGHT
        known.since = known.since + 1 if way == known.better and None not in known.averages else 0
        average = known.averages[way]
        known.averages[way] = seconds if average is None else average + weight * (seconds - average)
