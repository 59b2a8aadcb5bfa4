"""Reads prompts in float32 for a cache of int8.

Over int8, the attention of onnxruntime's CPU provider is twice as fast for a few tokens of a row,
and two to four times as slow for a prompt. So prompts run over rows of float32, the stages. Their
keys and values are rounded into the cache after every run. The cache is the truth: a stage is kept
only from one chunk of a prompt to the next, and filled from the cache when it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits, Runner

STAGES = 8  # the most prompts of one run
_KEPT = 512  # positions of a stage whose memory is kept for the next prompt
_BLOCK = 32  # positions that are converted together: they stay in the processor's cache
_MAX_INT8 = 127.0
_MIN_MAGNITUDE = 1e-5
_HEADROOM = 1.25  # other texts may have larger values than the calibration text


@dataclass(slots=True)
class Stage:
    """Which row of the cache a row of float32 repeats, and how much of it."""

    slot: int = -1  # -1: none
    length: int = 0
    version: int = 0  # of the cache's row


class PromptRunner:
    """Runs rows that lie in a cache of int8. See ``runner.Running``."""

    def __init__(self, runner: Runner, cache: KeyValueCache, stages: int) -> None:
        """``runner`` has a cache of ``stages`` rows of float32."""
        assert isinstance(runner.cache, KeyValueCache)
        self._runner = runner
        self.floats = runner.cache
        self._cache = cache
        self.stages = [Stage() for _ in range(stages)]
        self.scales = np.empty(0, np.float32)  # see int8_graph; to be set before the first run

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        """See ``Running.run``; the time includes the conversion of keys and values."""
        began = time.perf_counter()
        written = 0
        for first in range(0, len(rows), len(self.stages)):
            batch = rows[first : first + len(self.stages)]
            self._run(batch, logits[written:])
            written += sum(row.logits for row in batch)
        return time.perf_counter() - began

    def _run(self, rows: Sequence[Row], logits: Logits) -> None:
        places = self._choose_stages(rows)
        try:
            staged = [
                Row(place, row.past, row.tokens, row.logits, row.long)
                for row, place in zip(rows, places, strict=True)
            ]
            self._runner.run(staged, logits)
        except Exception:
            self.clear()
            raise
        for row, place in zip(rows, places, strict=True):
            end = row.past + len(row.tokens)
            self.store(place, row.slot, row.past, end)
            self.stages[place] = Stage(row.slot, end, self._cache.versions[row.slot])
            if row.logits:  # the prompt is at its end
                self._release(place, end)

    def on_cache_written(self, rows: Sequence[Row]) -> None:
        """Another runner is about to write these rows into the cache, behind their ``past``."""
        written = {row.slot: row for row in rows}
        for place, stage in enumerate(self.stages):  # one row may have an outdated stage as well
            if (row := written.get(stage.slot)) is None:
                continue
            if row.logits:  # the prompt is at its end
                self._release(place, stage.length)
            else:
                stage.length = min(stage.length, row.past)

    def clear(self) -> None:
        """Forget what the stages hold."""
        self.stages = [Stage() for _ in self.stages]

    def rebuild(self) -> None:
        """See ``Running.rebuild``."""
        self.clear()
        self._runner.rebuild()

    def observe(
        self, tokens: Sequence[int], width: int, partners: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scales that suit a text, which is read in chunks of ``width`` tokens.

        ``partners``: the channel with which each channel is rotated by the position. The magnitude
        of such a pair is the same at every position, and that of one channel is not.
        """
        for start in range(0, len(tokens), width):
            row = Row(0, start, tokens[start : start + width], 1)
            self._runner.run([row], np.empty((1, self._runner.vocabulary), np.float32))
        magnitudes = np.abs(self.floats.array[:, :, 0, :, : len(tokens)])
        keys = magnitudes[:, 0]
        rotated = keys[..., partners] * (partners != np.arange(len(partners)))
        magnitudes[:, 0] = np.hypot(keys, rotated)
        self.floats.forget(0)
        highest = magnitudes.max(axis=3, keepdims=True).clip(_MIN_MAGNITUDE)
        return np.asarray(highest * (_HEADROOM / _MAX_INT8), np.float32)

    def store(self, place: int, slot: int, start: int, end: int) -> None:
        """Round positions of a stage into the cache. What is out of range is clipped."""
        with np.errstate(invalid="ignore"):  # a NaN shows in the logits, which fail the request
            for first in range(start, end, _BLOCK):
                block = np.s_[first : min(end, first + _BLOCK)]
                steps = self.floats.array[:, :, place, :, block] / self.scales
                np.rint(steps, out=steps)
                np.clip(steps, -_MAX_INT8, _MAX_INT8, out=steps)
                self._cache.array[:, :, slot, :, block] = steps

    def _load(self, slot: int, place: int, start: int, end: int) -> None:
        """Convert positions of the cache to float32, into a stage."""
        for first in range(start, end, _BLOCK):
            block = np.s_[first : min(end, first + _BLOCK)]
            integers = self._cache.array[:, :, slot, :, block]
            np.multiply(integers, self.scales, out=self.floats.array[:, :, place, :, block])

    def _choose_stages(self, rows: Sequence[Row]) -> list[int]:
        """A stage for each row, which then holds the row's past."""
        known = {
            stage.slot: place
            for place, stage in enumerate(self.stages)
            if stage.slot >= 0 and stage.version == self._cache.versions[stage.slot]
        }
        kept = {known[row.slot] for row in rows if row.slot in known}
        others = [place for place in range(len(self.stages)) if place not in kept]
        free = iter(sorted(others, key=lambda place: self.stages[place].slot >= 0))
        places = []
        for row in rows:
            place = known.get(row.slot)
            start = 0 if place is None else min(self.stages[place].length, row.past)
            places.append(next(free) if place is None else place)
            self._load(row.slot, places[-1], start, row.past)
        return places

    def _release(self, place: int, length: int) -> None:
        """The stage holds nothing any more. The memory of a long one is given back."""
        self.stages[place] = Stage()
        if length > _KEPT:
            self.floats.forget(place)
