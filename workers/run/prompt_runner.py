"""Reads prompts in float32 for a cache of int8.

The attention of onnxruntime's CPU provider is twice as fast over int8 for a few tokens of a row,
and two to four times as slow for a prompt. So prompts run over rows of float32 of their own, whose
keys and values are rounded into the cache after every run. The cache is the truth: a row of float32
is kept only from one chunk of a prompt to the next, and made from the cache where it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Runner

# Prompts that are read in one run at most; the memory of so many rows is kept, up to a length.
STAGES = 8
_KEPT = 512  # positions
_BLOCK = 32  # positions that are converted at once: they stay in the processor's cache
_LARGEST = 127.0
_QUIETEST = 1e-5
# Other texts may be louder than the one that was observed.
_HEADROOM = 1.25


@dataclass(slots=True)
class _Stage:
    """Which row of the cache a row of float32 repeats, and how much of it."""

    slot: int = -1  # none
    length: int = 0
    version: int = 0


class PromptRunner:
    """A ``Runner`` of rows that lie in a cache of int8."""

    def __init__(self, runner: Runner, cache: KeyValueCache, stages: int) -> None:
        """``runner`` has a cache of ``stages`` rows of float32."""
        assert isinstance(runner.cache, KeyValueCache)
        self._runner = runner
        self._floats = runner.cache
        self._cache = cache
        self._stages = [_Stage() for _ in range(stages)]
        self.scales = np.empty(0, np.float32)  # see int8_graph; to be set before the first run

    def run(self, rows: Sequence[Row], logits: NDArray[np.float32]) -> float:
        """See ``Runner.run``."""
        began = time.perf_counter()
        done = 0
        for first in range(0, len(rows), len(self._stages)):
            part = rows[first : first + len(self._stages)]
            self._run(part, logits[done:])
            done += sum(row.logits for row in part)
        return time.perf_counter() - began

    def _run(self, rows: Sequence[Row], logits: NDArray[np.float32]) -> None:
        places = self._seat(rows)
        try:
            staged = [
                Row(place, row.past, row.tokens, row.logits, row.long)
                for row, place in zip(rows, places, strict=True)
            ]
            self._runner.run(staged, logits)
        except Exception:
            self._drop()
            raise
        for row, place in zip(rows, places, strict=True):
            end = row.past + len(row.tokens)
            self._round(place, row.slot, row.past, end)
            self._stages[place] = _Stage(row.slot, end, self._cache.versions[row.slot])
            if row.logits:  # the prompt is at its end
                self._leave(place, end)

    def written(self, rows: Sequence[Row]) -> None:
        """Others write into the cache, behind the ``past`` of these rows."""
        written = {row.slot: row for row in rows}
        for place, stage in enumerate(self._stages):  # of a row there may be an old one, too
            if (row := written.get(stage.slot)) is None:
                continue
            if row.logits:  # the prompt is at its end
                self._leave(place, stage.length)
            else:
                stage.length = min(stage.length, row.past)

    def rebuild(self) -> None:
        self._drop()
        self._runner.rebuild()

    def observe(
        self, tokens: Sequence[int], width: int, partners: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scales that suit a text, read in chunks of ``width`` tokens.

        ``partners``: with which channel each is turned by the position, so that the loudness of a
        pair and not of a channel is the same at every position.
        """
        for start in range(0, len(tokens), width):
            row = Row(0, start, tokens[start : start + width], 1)
            self._runner.run([row], np.empty((1, self._runner.vocabulary), np.float32))
        loud = np.abs(self._floats.array[:, :, 0, :, : len(tokens)])
        keys = loud[:, 0]
        turned = keys[..., partners] * (partners != np.arange(len(partners)))
        loud[:, 0] = np.hypot(keys, turned)
        self._floats.forget(0)
        highest = loud.max(axis=3, keepdims=True).clip(_QUIETEST)
        return np.asarray(highest * (_HEADROOM / _LARGEST), np.float32)

    def _seat(self, rows: Sequence[Row]) -> list[int]:
        """In which rows of float32 these are, with their past."""
        known = {
            stage.slot: place
            for place, stage in enumerate(self._stages)
            if stage.slot >= 0 and stage.version == self._cache.versions[stage.slot]
        }
        kept = {known[row.slot] for row in rows if row.slot in known}
        others = [place for place in range(len(self._stages)) if place not in kept]
        free = iter(sorted(others, key=lambda place: self._stages[place].slot >= 0))
        places = []
        for row in rows:
            place = known.get(row.slot)
            start = 0 if place is None else min(self._stages[place].length, row.past)
            places.append(next(free) if place is None else place)
            self._widen(row.slot, places[-1], start, row.past)
        return places

    def _widen(self, slot: int, place: int, start: int, end: int) -> None:
        """Positions of the cache, as float32."""
        for first in range(start, end, _BLOCK):
            those = np.s_[first : min(end, first + _BLOCK)]
            integers = self._cache.array[:, :, slot, :, those]
            np.multiply(integers, self.scales, out=self._floats.array[:, :, place, :, those])

    def _round(self, place: int, slot: int, start: int, end: int) -> None:
        """Positions of a row of float32, into the cache."""
        with np.errstate(invalid="ignore"):  # what is no number fails by its logits
            for first in range(start, end, _BLOCK):
                those = np.s_[first : min(end, first + _BLOCK)]
                steps = self._floats.array[:, :, place, :, those] / self.scales
                np.rint(steps, out=steps)
                np.clip(steps, -_LARGEST, _LARGEST, out=steps)
                self._cache.array[:, :, slot, :, those] = steps

    def _leave(self, place: int, length: int) -> None:
        self._stages[place] = _Stage()
        if length > _KEPT:
            self._floats.forget(place)

    def _drop(self) -> None:
        self._stages = [_Stage() for _ in self._stages]
