"""Which of two ways to do a thing is faster here and now. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

TRIALS = 4  # of each way, in turn; the best counts: the first runs of a session are slow
RETRY = 50  # times that one way is taken before the other is tried again
_WEIGHT, _TRIED = 0.2, 0.5  # of the newest time in an average; of one that was not known for long


@dataclass(slots=True)
class _Known:
    seconds: list[float] = field(default_factory=lambda: [math.inf, math.inf])  # averages
    trials: list[int] = field(default_factory=lambda: [0, 0])
    since: int = 0  # the slower one was taken

    @property
    def better(self) -> int:
        return int(self.seconds[1] < self.seconds[0])


class Contest:
    """Learns it for every kind of the thing. The slower way is tried again from time to time: a
    machine that others use, too, is not the same for long."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Known] = {}

    def choose(self, kind: Hashable) -> int:
        """The way to take, 0 or 1."""
        known = self._known.setdefault(kind, _Known())
        if min(known.trials) < TRIALS:
            return int(known.trials[1] < known.trials[0])
        return known.better if known.since < RETRY else 1 - known.better

    def observe(self, kind: Hashable, way: int, seconds: float) -> None:
        """A way that ``choose`` chose took so long, for as much work as at other times."""
        known = self._known[kind]
        if known.trials[way] < TRIALS:
            known.trials[way] += 1
            known.seconds[way] = min(known.seconds[way], seconds)
            return
        weight = _TRIED if known.since >= RETRY else _WEIGHT
        known.since = known.since + 1 if way == known.better else 0
        known.seconds[way] += weight * (seconds - known.seconds[way])
