"""How far steps and requests are from the cost model, and for how long at a time. Pure.

A machine has bad moments: another program has the core, or its clock is slow. A ratio is a measured
time divided by the model's. Ratios are kept in the order in which they were seen, and drawn as
blocks of so many in a row, since a bad moment may last for several steps (the moving block
bootstrap, Künsch 1989). So the simulation needs no guess of their distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

BLOCK = 16  # ratios: behind so many, measured ones have nothing to do with each other any more
DRAWN = 1 << 12  # ratios
MOST_STEPS = 1 << 9  # in a row. So many more are drawn, which are the first ones again
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]  # a step takes time
_LEAST = 0.01  # a ratio
_AT_ONCE = 0.3  # a ratio: a piece that comes sooner behind the one before had waited for the client


@dataclass(frozen=True, slots=True)
class Spread:
    """Measured ratios. Without any, all takes the time that the model says."""

    steps: tuple[Positive, ...] = ()
    # Of requests that find the engine idle: from their start to their first text, but for
    # ``overhead``.
    waits: tuple[Positive, ...] = ()

    @classmethod
    def of(cls, steps: Iterable[float], waits: Iterable[float]) -> Spread:
        """As clients saw them."""
        kept = (_levelled(steps), waits)
        return cls(*(tuple(round(max(_LEAST, each), 3) for each in some) for some in kept))


def _levelled(ratios: Iterable[float]) -> list[float]:
    """A client that is held up sees a step that is too long, and then one that takes no time: the
    engine's were as long as their mean."""
    found: list[float] = []
    for ratio in ratios:
        if found and ratio < _AT_ONCE:
            found[-1] = ratio = (found[-1] + ratio) / 2
        found.append(ratio)
    return found


class DrawnRatios:
    """Drawn ratios, which all workers of a simulation share; each begins at another place.

    ``sums`` and ``moments`` have one place more. ``sums[n]`` is the sum of the first n steps'
    ratios, ``moments[n]`` of each of them times its place: so the time of many steps in a row,
    each longer than the one before, is known at once.
    """

    __slots__ = ("moments", "steps", "sums", "waits")

    def __init__(self, spread: Spread, seed: int) -> None:
        chance = np.random.default_rng(seed)
        steps = _drawn(spread.steps, chance)
        self.steps: list[float] = steps.tolist()
        self.waits: list[float] = _drawn(spread.waits, chance).tolist()
        steps = np.concatenate([steps, steps[:MOST_STEPS]])
        self.sums = _running(steps)
        self.moments = _running(steps * np.arange(len(steps)))


def _drawn(ratios: Sequence[float], chance: np.random.Generator) -> NDArray[np.float64]:
    """Blocks that begin anywhere; behind the last ratio the first one follows."""
    measured = np.array(ratios or (1.0,))
    begins = chance.integers(len(measured), size=DRAWN // BLOCK)
    places = (begins[:, None] + np.arange(BLOCK)) % len(measured)
    found: NDArray[np.float64] = measured[places.ravel()]
    return found


def _running(values: NDArray[np.float64]) -> list[float]:
    found: list[float] = np.concatenate([[0.0], np.cumsum(values)]).tolist()
    return found


STEADY = DrawnRatios(Spread(), 0)  # all takes the time that the model says
