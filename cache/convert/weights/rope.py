"""The rotary angles of a decoder: the frequencies of its pairs of channels.

Models that were trained on short texts and then on long ones divide their frequencies: all by one
factor, the slow ones alone (Llama 3.1, YaRN), or each by its own (LongRoPE of Phi, which has one
list for short texts and one for long ones).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Table = npt.NDArray[np.float32]
Wave = Callable[[Array], Array]

_PIECE = 8192  # positions that are computed at once


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """An angle is a position times a frequency. Pairs without a frequency are not rotated."""

    frequencies: Array  # [rotary channels / 2]
    amplitude: float = 1.0  # that cosines and sines are multiplied by
    long_frequencies: Array | None = None  # of texts of more than ``short_context`` tokens
    short_context: int = 0

    @property
    def is_finite(self) -> bool:
        found = [self.frequencies]
        if self.long_frequencies is not None:
            found.append(self.long_frequencies)
        return math.isfinite(self.amplitude) and all(np.isfinite(each).all() for each in found)

    def table(self, wave: Wave, length: int, *, long: bool = False) -> Iterator[Table]:
        """Cosines or sines of ``length`` positions ``[length, rotary channels / 2]``, in pieces.

        ``wave``: ``np.cos`` or ``np.sin``. ``long``: with the frequencies of long texts.
        """
        frequencies = self.frequencies
        if long and self.long_frequencies is not None:
            frequencies = self.long_frequencies
        for start in range(0, length, _PIECE):
            positions = np.arange(start, min(start + _PIECE, length))
            yield (wave(np.outer(positions, frequencies)) * self.amplitude).astype(np.float32)


def frequencies(base: float, size: int) -> Array:
    """Those of ``size`` channels that nothing scales. They are not finite for a wrong base."""
    if not 0 < base < math.inf:
        return np.full(size // 2, np.nan)
    found: Array = base ** -(np.arange(0, size, 2) / size)
    return found


def llama3_divisors(plain: Array, factor: float, low: float, high: float, trained: int) -> Array:
    """The divisors of the frequencies in Llama 3.1.

    Waves shorter than ``trained / high`` tokens stay, those longer than ``trained / low`` are
    stretched by ``factor``, and those between are stretched by a part of it.
    """
    turns = trained * plain / (2 * math.pi)  # in the texts of the first training
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    divisors: Array = 1 / ((1 - share) / factor + share)
    return divisors


def yarn(
    plain: Array,
    base: float,
    factor: float,
    trained: int,
    *,
    fast: float = 32.0,
    slow: float = 1.0,
    amplitude: float = 0.0,
) -> Rope:
    """The positions of YaRN (arXiv 2309.00071).

    Pairs that turn more than ``fast`` times in ``trained`` tokens stay, those that turn less than
    ``slow`` times are divided by ``factor``, and those between by a part of it. ``amplitude``: 0:
    what the paper has.
    """
    if not (1 < base < math.inf and factor > 0 and trained > 0 and fast > slow > 0):
        return Rope(np.full(len(plain), np.nan))
    size = 2 * len(plain)
    first, last = (
        size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (fast, slow)
    )
    low, high = max(math.floor(first), 0), min(math.ceil(last), size - 1)
    ramp = np.clip((np.arange(len(plain)) - low) / max(high - low, 0.001), 0.0, 1.0)
    scaled: Array = plain * (1 - ramp) + plain / factor * ramp
    return Rope(scaled, amplitude or yarn_amplitude(factor))


def yarn_amplitude(factor: float, strength: float = 1.0) -> float:
    """What YaRN multiplies cosines and sines by."""
    return 0.1 * strength * math.log(factor) + 1.0 if factor > 1 else 1.0


def long_amplitude(context: int, trained: int) -> float:
    """What LongRoPE multiplies cosines and sines by, where the model does not say it."""
    if context <= trained:
        return 1.0
    return math.sqrt(1 + math.log(context / trained) / math.log(trained))
