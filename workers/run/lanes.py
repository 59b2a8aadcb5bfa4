"""The halves of a step side by side, each in a session with half of the threads.

The threads of one session share every operator, and hand what it makes to each other at every next
one. Where their cores have no cache in common, as may be on a rented machine at any time, that
takes a third of the step. Two sessions over the same weights hand over nothing; but both read all
weights, which few rows do not pay for. So which is faster is learnt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from cupola.workers.device.background import InBackground
from cupola.workers.run.autotune import Contest
from cupola.workers.run.packing import Row, runs
from cupola.workers.run.runner import Running

logger = logging.getLogger(__name__)

LANES = 2
_FEWEST = 8  # tokens; with fewer the weights decide
_MOST = 0.65  # of the work that one half may have
# In tokens at the beginning of a prompt (measured with the default model): reading the weights.
# Positions that make a token twice as dear, and those whose keys and values take as long to read.
_WEIGHTS, _DEEP, _READ = 12, 1000, 250

Half = list[int]  # which rows


class Lane:
    """A runner that is given the rows of a step in one run or in two; see ``packing.runs``."""

    def __init__(self, runner: Running, copied: int) -> None:
        self._runner = runner
        self._copied = copied

    def run(self, rows: Sequence[Row], logits: NDArray[np.float32]) -> float:
        """See ``runner.Runner.run``."""
        seconds, done = 0.0, 0
        for part in runs(rows, self._copied):
            seconds += self._runner.run(part, logits[done:])
            done += sum(row.logits for row in part)
        return seconds

    def rebuild(self) -> None:
        self._runner.rebuild()


class Lanes:
    """One lane for all rows, or two for half of them each."""

    def __init__(self, whole: Lane, make: Callable[[], Sequence[Lane]]) -> None:
        """``make`` makes the two. It is called in a thread of its own."""
        self._whole = whole
        self._two = InBackground(make, "lanes")
        self._contest = Contest()
        self._beside = ThreadPoolExecutor(1, "lane")
        self._logits = np.empty((0, 0), np.float32)

    @property
    def made(self) -> bool:
        return self._two.value is not None

    def wait(self) -> None:
        """Until they are made, or cannot be."""
        self._two.making.join()

    def run(self, rows: Sequence[Row], logits: NDArray[np.float32]) -> float:
        """See ``runner.Runner.run``."""
        two = self._two.value
        if two is None or (both := halves(rows)) is None:
            return self._whole.run(rows, logits)
        kind = _kind(rows)
        if way := self._contest.choose(kind):
            try:
                seconds = self._run(two, both, rows, logits)
            except Exception:  # of whatever kind the runtime raises
                logger.exception("steps are not run in halves any more")
                self._two.value = None
                return self._whole.run(rows, logits)
        else:
            seconds = self._whole.run(rows, logits)
        self._contest.observe(kind, way, seconds / (_WEIGHTS + sum(map(cost, rows))))
        return seconds

    def rebuild(self) -> None:
        for lane in (self._whole, *(self._two.value or ())):
            lane.rebuild()

    def _run(
        self,
        lanes: Sequence[Lane],
        both: tuple[Half, Half],
        rows: Sequence[Row],
        logits: NDArray[np.float32],
    ) -> float:
        began = time.perf_counter()
        first, second = ([rows[n] for n in half] for half in both)
        wanted = sum(row.logits for row in first)
        # A run of which no logits are wanted writes one row of them all the same.
        in_order = [*both[0], *both[1]] == list(range(len(rows)))
        in_place = in_order and all(row.logits for row in first)
        if in_place:
            targets = logits, logits[wanted:]
        else:
            all_ = self._room(sum(row.logits for row in rows) + LANES, logits.shape[1])
            targets = all_, all_[wanted + 1 :]
        other = self._beside.submit(lanes[1].run, second, targets[1])
        try:
            lanes[0].run(first, targets[0])
        finally:
            wait([other])  # nobody may touch the cache before
        other.result()
        if not in_place:
            ends = np.cumsum([row.logits for row in rows])
            for half, target in zip(both, targets, strict=True):
                at = [n for i in half for n in range(ends[i] - rows[i].logits, ends[i])]
                logits[at] = target[: len(at)]
        return time.perf_counter() - began

    def _room(self, rows: int, vocabulary: int) -> NDArray[np.float32]:
        if len(self._logits) < rows:
            self._logits = np.empty((rows, vocabulary), np.float32)
        return self._logits


def cost(row: Row) -> float:
    """What a row's part of a run is, in tokens at the beginning of a prompt; roughly."""
    return len(row.tokens) * (1 + row.past / _DEEP) + row.past / _READ


def _kind(rows: Sequence[Row]) -> tuple[int, bool]:
    """What steps have in common that one of the ways suits."""
    tokens = sum(len(row.tokens) for row in rows)
    size = tokens // 4 if tokens < 4 * _FEWEST else _FEWEST + tokens.bit_length()
    return size, tokens > len(rows)


def halves(rows: Sequence[Row]) -> tuple[Half, Half] | None:
    """Rows of about the same cost, those of one token first; None where there are none."""
    if sum(len(row.tokens) for row in rows) < _FEWEST:
        return None
    costs = [cost(row) for row in rows]
    total = sum(costs)
    generating = [n for n, row in enumerate(rows) if len(row.tokens) == 1]
    prompts = [n for n, row in enumerate(rows) if len(row.tokens) > 1]
    both: tuple[Half, Half] = [], []
    had = [0.0, 0.0]
    for n in sorted(prompts, key=costs.__getitem__, reverse=True):
        less = had.index(min(had))
        both[less].append(n)
        had[less] += costs[n]
    ones: tuple[Half, Half] = [], []
    for n in generating:  # the first of them in the first half, so that logits lie in order
        less = 1 if ones[1] or had[0] + costs[n] / 2 > total / 2 else 0
        ones[less].append(n)
        had[less] += costs[n]
    if max(had) > _MOST * total:
        return None
    first, second = (one + sorted(half) for one, half in zip(ones, both, strict=True))
    return first, second
