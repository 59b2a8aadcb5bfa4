"""Learns which of several ways is the fastest for a kind of work, here and now. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

TRIALS = 4  # of each way, in turn. The best one counts: the first runs of a session are slow
RETRY = 50  # times that the fastest way is taken before another one is tried again
_NEWEST, _RETRIED = 0.2, 0.5  # weight of the newest time in an average; of a time after a retry


@dataclass(slots=True)
class _Record:
    """What is known about one way for one kind of work."""

    trials: int = 0
    seconds: float = math.inf  # the best of the trials, then a moving average
    lost: bool = False  # another way was faster when the trials ended


@dataclass(slots=True)
class _Kind:
    ways: dict[str, _Record] = field(default_factory=dict)
    taken: int = 0  # how often the fastest way was taken since the last retry
    retries: int = 0
    retrying: str = ""  # the way that is being tried again


class Autotune:
    """Chooses a way for each kind of work, and learns from the times.

    A slower way is tried again from time to time: a machine that others use does not stay the same
    for long.
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def choose(self, kind: Hashable, ways: Sequence[str]) -> str:
        """The way to take now, one of ``ways``. Those that are not there are not considered."""
        known = self._kinds.setdefault(kind, _Kind())
        records = {way: known.ways.setdefault(way, _Record()) for way in ways}
        if len(ways) == 1:
            return ways[0]
        least = min(ways, key=lambda way: records[way].trials)
        if records[least].trials < TRIALS:
            return least
        fastest = min(ways, key=lambda way: records[way].seconds)
        if known.taken < RETRY:
            known.taken += 1
            return fastest
        others = [way for way in ways if way != fastest]
        known.retrying = others[known.retries % len(others)]
        known.retries += 1
        known.taken = 0
        return known.retrying

    def observe(self, kind: Hashable, way: str, seconds: float) -> None:
        """The way that was chosen took ``seconds`` for a fixed amount of work of this kind."""
        known = self._kinds[kind]
        record = known.ways[way]
        if record.trials < TRIALS:
            record.trials += 1
            record.seconds = min(record.seconds, seconds)
            record.lost = any(each.seconds < record.seconds for each in known.ways.values())
            return
        weight = _RETRIED if way == known.retrying else _NEWEST
        known.retrying = ""
        record.seconds += weight * (seconds - record.seconds)

    def lost_trials(self, kind: Hashable, way: str) -> bool:
        """Whether all trials of the way are over and another way was faster then."""
        known = self._kinds.get(kind)
        record = known.ways.get(way) if known is not None else None
        return record is not None and record.trials == TRIALS and record.lost
