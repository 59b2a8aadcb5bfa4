"""The halves of a step side by side, each in a session with half of the threads.

The threads of one session share every operator, and hand its results to each other at the next one.
If their cores share no cache, as can be the case on a rented machine at any time, that takes a
third of the step. Two sessions over the same weights hand over nothing. But both read all weights,
which does not pay for few rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import numpy as np

from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits, Running, run_in_turn
from cupola.workers.run.step_split import Half, halved_cost, halves, runs
from cupola.workers.run.ways import OptionalWay, Plan

LANES = 2

Lanes = Sequence[Running]


class SideBySide(OptionalWay[Lanes]):
    """A way with two lanes: sessions that run at the same time."""

    def __init__(
        self,
        build: Callable[[], Lanes | None],
        copy_limit: int,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        """``copy_limit``: see ``step_split.runs``. ``forget``: delete what only lanes read."""
        super().__init__(build, "lanes")
        self._forget = forget
        self._copy_limit = copy_limit
        self._thread = ThreadPoolExecutor(1, "lane")
        self._buffer = np.empty((0, 0), np.float32)

    def give_up(self) -> None:
        super().give_up()
        self._forget()

    def _plan(self, sessions: Lanes, rows: Sequence[Row]) -> Plan | None:
        both = halves(rows)
        if both is None:
            return None
        return Plan(partial(self._run, sessions, both, rows), halved_cost(rows, both))

    def _rebuild(self, sessions: Lanes) -> None:
        for lane in sessions:
            lane.rebuild()

    def _run(
        self, lanes: Lanes, both: tuple[Half, Half], rows: Sequence[Row], logits: Logits
    ) -> float:
        began = time.perf_counter()
        first, second = (
            [(lane, part) for part in runs([rows[n] for n in half], self._copy_limit)]
            for lane, half in zip(lanes, both, strict=True)
        )
        wanted = sum(rows[n].logits for n in both[0])
        in_order = [*both[0], *both[1]] == list(range(len(rows)))
        # A run may write one row of logits more than are wanted.
        in_place = in_order and not any(rows[n].reproducible or not rows[n].logits for n in both[0])
        if in_place:
            targets = logits, logits[wanted:]
        else:
            buffer = self._room(sum(row.logits for row in rows) + LANES, logits.shape[1])
            targets = buffer, buffer[wanted + 1 :]
        other = self._thread.submit(run_in_turn, second, targets[1])
        try:
            run_in_turn(first, targets[0])
        finally:
            wait([other])  # nobody may touch the cache before
        other.result()
        if not in_place:
            ends = np.cumsum([row.logits for row in rows])
            for half, target in zip(both, targets, strict=True):
                at = [n for i in half for n in range(ends[i] - rows[i].logits, ends[i])]
                logits[at] = target[: len(at)]
        return time.perf_counter() - began

    def _room(self, rows: int, vocabulary: int) -> Logits:
        """Memory for logits that must be put in order; it is kept for the next step."""
        if len(self._buffer) < rows:
            self._buffer = np.empty((rows, vocabulary), np.float32)
        return self._buffer
