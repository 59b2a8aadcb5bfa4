"""What several rounds say together: medians, spread, and ratios with confidence. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Student's t at 97.5%, by degrees of freedom; for more it is close to the last one.
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T_MANY = 2.0
_TELLING = 10  # an interval that is wider says nothing


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over some rounds: its median, and the lowest and highest of them."""

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Estimate:
        """Rounds without the figure, as TTFT where nobody answered, do not count."""
        found = [value for value in rounds if math.isfinite(value)]
        if not found:
            return cls(math.nan, math.nan, math.nan, tuple(rounds))
        return cls(statistics.median(found), min(found), max(found), tuple(rounds))

    @property
    def spread(self) -> float:
        """The range relative to the median."""
        return (self.high - self.low) / self.median if self.median else math.nan


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two figures with its 95% interval; the interval is nan below two rounds."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 1 out."""
        return self.low > 1 or self.high < 1

    @property
    def text(self) -> str:
        if math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"x{self.value:.2f}"
        if self.high > _TELLING * self.low:
            return f"x{self.value:.2f} (too few rounds to say more)"
        return f"x{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ours / theirs, of rounds in which both took a turn: the drift of the machine cancels out.

    The geometric mean of the rounds' ratios, with Student's interval of their logarithms.
    """
    logs = [
        math.log(a / b) for a, b in zip(ours, theirs, strict=False) if _positive(a) and _positive(b)
    ]
    if not logs:
        return Ratio(math.nan)
    return _interval(statistics.fmean(logs), _error(logs), len(logs) - 1)


def unpaired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ours / theirs, of two runs at different times (Welch's interval of the logarithms)."""
    a = [math.log(value) for value in ours if _positive(value)]
    b = [math.log(value) for value in theirs if _positive(value)]
    if not a or not b:
        return Ratio(math.nan)
    error = math.hypot(_error(a), _error(b))
    return _interval(statistics.fmean(a) - statistics.fmean(b), error, min(len(a), len(b)) - 1)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _error(logs: Sequence[float]) -> float:
    """The standard error of the mean; nan below two values."""
    return statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan


def _interval(mean: float, error: float, freedom: int) -> Ratio:
    if freedom < 1:
        return Ratio(math.exp(mean))
    wide = (_T[freedom - 1] if freedom <= len(_T) else _T_MANY) * error
    return Ratio(math.exp(mean), math.exp(mean - wide), math.exp(mean + wide))
