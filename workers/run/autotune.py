"""Learns which of several ways is the fastest for a kind of work, here and now. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

TRIALS = 4  # of each way, in turn. The best one counts: the first runs of a session are slow
# Times that the fastest way is taken before another one is tried again. If it was every fiftieth
# step, one pause of a hundred between two tokens would be as long as the slower way takes.
RETRY = 400
_NEWEST, _RETRIED = 0.2, 0.5  # weight of the newest time in an average; of a time after a retry


@dataclass(slots=True)
class _Kind:
    """What is known about each way for one kind of work."""

    trials: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    # The best time of the trials, later a moving average.
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(lambda: math.inf))
    lost: set[str] = field(default_factory=set)  # another way was faster when the trials ended
    won: set[str] = field(default_factory=set)  # no other way was faster then
    taken: int = 0  # how often the fastest way was taken since the last retry
    retries: int = 0
    retrying: str = ""  # the way that is being tried again


class Autotune:
    """Chooses a way for each kind of work, and learns from the times.

    A slower way is tried again from time to time: a machine that others use does not stay the same
    for long.
    """

    def __init__(self) -> None:
        self._kinds: defaultdict[Hashable, _Kind] = defaultdict(_Kind)

    def choose(
        self, kind: Hashable, ways: Mapping[str, float], alike: Iterable[Hashable] = ()
    ) -> str:
        """The way to take now. A way that cannot be taken now is left out.

        ``ways``: how much work each would be. ``alike``: kinds that are likely to be as fast, the
        likeliest first. As soon as one of them is known, its times stand for those of trials here.
        """
        known = self._kinds[kind]
        if len(ways) == 1:
            return next(iter(ways))
        if min(known.trials[way] for way in ways) < TRIALS:
            self._begin_as(known, ways, alike)
        least_tried = min(ways, key=known.trials.__getitem__)
        if known.trials[least_tried] < TRIALS:
            return least_tried
        fastest = min(ways, key=lambda way: known.seconds[way] * ways[way])
        if known.taken < RETRY:
            known.taken += 1
            return fastest
        others = [way for way in ways if way != fastest]
        known.retrying = others[known.retries % len(others)]
        known.retries += 1
        known.taken = 0
        return known.retrying

    def _begin_as(self, known: _Kind, ways: Iterable[str], alike: Iterable[Hashable]) -> None:
        """End the trials with what is known of another kind, if all ways were tried there."""
        for kind in alike:
            other = self._kinds.get(kind)
            if other is not None and all(other.trials[way] >= TRIALS for way in ways):
                known.trials.update(dict.fromkeys(ways, TRIALS))
                known.seconds.update({way: other.seconds[way] for way in ways})
                return

    def observe(self, kind: Hashable, way: str, seconds: float) -> None:
        """The way that was chosen took so many ``seconds`` for each unit of its work."""
        known = self._kinds[kind]
        if known.trials[way] < TRIALS:
            known.trials[way] += 1
            known.seconds[way] = min(known.seconds[way], seconds)
            if known.trials[way] == TRIALS:
                beaten = min(known.seconds.values()) < known.seconds[way]
                (known.lost if beaten else known.won).add(way)
            return
        weight = _NEWEST
        if way == known.retrying:
            # A pause can make a run slower than its way is, and nothing can make it faster. So a
            # faster time counts in full.
            weight = _RETRIED if seconds > known.seconds[way] else 1.0
        known.retrying = ""
        known.seconds[way] += weight * (seconds - known.seconds[way])

    def lost_trials(self, kind: Hashable, way: str) -> bool:
        """Whether another way was faster when the trials of this one ended."""
        return way in self._kinds[kind].lost

    def lost_all_trials(self, way: str, kinds: int) -> bool:
        """Whether trials of this way ended for at least so many kinds, and it won none of them."""
        lost = sum(way in known.lost for known in self._kinds.values())
        return lost >= kinds and not any(way in known.won for known in self._kinds.values())
