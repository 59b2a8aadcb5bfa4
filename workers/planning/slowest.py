"""How many times as long as expected the slowest steps take. Pure.

It is a quantile of the ratios seen, with the newest ones counting most. It begins with some steps
that nobody has seen, of which one took twice as long: so it is careful before it has learnt
anything, and after a slow step at once. It becomes bold only when many steps were not slow.
"""

from __future__ import annotations

from math import ceil, log

_LATE = 0.006  # so many steps may take longer. While that is learnt, one of a hundred does
_SEEN = 320  # steps that count; so the second slowest of them is what is wanted
_ASSUMED, _ASSUMED_RATIO = 50, 2.0  # steps, and how slow one of them was
_GROWTH = 1 + 1 / _SEEN  # of the weight of each step over the one before it
_MOST_WEIGHT = 1e9
_WIDTH = log(1.02)  # ratios within it are the same
_EQUAL = 1.01  # a step that differs so little from what was expected is not slow
_MOST_RATIO = 4.0  # what is slower counts as this
_MOST = ceil(log(_MOST_RATIO) / _WIDTH)  # its place


class Slowest:
    """The ratio that all but one step of a hundred keep."""

    def __init__(self) -> None:
        self._weights = [0.0] * (_MOST + 1)  # of ratios, by place
        self._weights[0] = _ASSUMED - 1.0
        self._weights[_place(_ASSUMED_RATIO)] = 1.0
        self._total = float(_ASSUMED)
        self._weight = 1.0  # of the next step
        self._highest = _place(_ASSUMED_RATIO)  # there is none above it

    def add(self, ratio: float) -> None:
        """A step took so many times as long as expected."""
        place = _place(ratio)
        self._weight *= _GROWTH
        self._weights[place] += self._weight
        self._total += self._weight
        self._highest = max(self._highest, place)
        if self._weight > _MOST_WEIGHT:
            self._weights = [each / self._weight for each in self._weights]
            self._total /= self._weight
            self._weight = 1.0

    @property
    def ratio(self) -> float:
        """The steps above it weigh no more than ``_LATE`` of all. At least 1."""
        # The total grows to what ``_SEEN`` steps weigh, and no further.
        left = _LATE * self._total
        for place in range(self._highest, 0, -1):
            left -= self._weights[place]
            if left < 0:
                return float(1.02**place)
        return 1.0


def _place(ratio: float) -> int:
    if ratio <= _EQUAL:
        return 0
    return min(_MOST, ceil(log(min(ratio, _MOST_RATIO) / _EQUAL) / _WIDTH))
