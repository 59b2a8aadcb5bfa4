"""Two ways to run the same rows: for few tokens the one that is faster on this machine."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cupola.workers.device.background import InBackground
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Running

logger = logging.getLogger(__name__)

FEW = 8  # tokens; with more the first was the faster one wherever it was tried
TRIALS = 8  # of each, for each number of tokens


class Rivals:
    """Lets two take turns until it has seen which is faster for so many tokens."""

    def __init__(self, many: Running, make_few: Callable[[], Running | None]) -> None:
        """``make_few`` makes the one that may be better for few tokens. It is called in a thread of
        its own: nobody waits for what is only faster.
        """
        self._many = many
        self._seconds: dict[int, tuple[list[float], list[float]]] = {}  # by tokens, of each
        self._better: dict[int, bool] = {}  # by tokens: whether ``few`` is
        self._few = InBackground(make_few, "weights in blocks")

    def wait(self) -> None:
        """Until the other one is made, or cannot be."""
        self._few.making.join()

    def run(self, rows: Sequence[Row], logits: NDArray[np.float32]) -> float:
        """See ``runner.Runner.run``."""
        tokens = sum(len(row.tokens) for row in rows)
        few = self._few.value
        if few is None or tokens > FEW or not self._better.get(tokens, True):
            return self._many.run(rows, logits)
        if any(row.steady for row in rows):  # the two round differently
            return self._many.run(rows, logits)
        trial = None if tokens in self._better else self._seconds.setdefault(tokens, ([], []))
        if trial is not None and len(trial[0]) <= len(trial[1]):
            trial[0].append(seconds := self._many.run(rows, logits))
            return seconds
        try:
            seconds = few.run(rows, logits)
        except Exception:  # of whatever kind the runtime raises
            logger.exception("weights in blocks are not used any more")
            self._few.value = None
            return self._many.run(rows, logits)
        if trial is not None:
            trial[1].append(seconds)
            self._decide(tokens)
        return seconds

    def rebuild(self) -> None:
        self._many.rebuild()
        if (few := self._few.value) is not None:
            few.rebuild()

    def _decide(self, tokens: int) -> None:
        if len(self._seconds[tokens][1]) < TRIALS:
            return
        many_took, few_took = map(statistics.median, self._seconds.pop(tokens))
        self._better[tokens] = few_took < many_took
        if tokens == 1 and not self._better[tokens]:
            self._few.value = None  # one token is what it is best at: its memory is better free
