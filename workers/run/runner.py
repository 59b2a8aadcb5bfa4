"""onnxruntime and its IO binding: one run of a serving graph, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.graph.serving_graph import ServingGraph
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.run.packing import Doubling, Row, fill, pack, span

Logits = NDArray[np.float32]


class Running(Protocol):
    """Runs rows of a cache."""

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        """Write the wanted logits ``[R, vocabulary]`` in order of ``rows``.

        ``logits`` has room for one row more. Returns how long the run took, in seconds.
        """

    def rebuild(self) -> None:
        """Open the sessions again, after a run that failed."""


def run_in_turn(runs: Iterable[tuple[Running, Sequence[Row]]], logits: Logits) -> float:
    """Make some runs, one after the other, each by its runner. See ``Running.run``."""
    seconds, written = 0.0, 0
    for runner, rows in runs:
        seconds += runner.run(rows, logits[written:])
        written += sum(row.logits for row in rows)
    return seconds


@dataclass(slots=True)
class _Bound:
    """The memory that a run reads and writes, and the layout of its rows there."""

    binding: ort.IOBinding
    layout: tuple[object, ...] = ()
    inputs: dict[str, NDArray[np.generic]] = field(default_factory=dict)


class Runner:
    """A session of a serving graph, and the cache whose rows it reads and writes in place."""

    def __init__(
        self,
        graph: ServingGraph,
        open_: Callable[[], ort.InferenceSession],
        cache: KeyValueCache,
        doubling: Doubling = Doubling.NOTHING,
    ) -> None:
        """``open_`` starts the session. Raises what ``open_`` does."""
        self.cache = cache
        self.doubling = doubling
        self._open = open_
        self._session = open_()
        self._graph = graph
        self.vocabulary = graph.vocabulary
        # Binding all keys and values costs a millisecond, so the same slots are bound once.
        self._bindings: dict[range, _Bound] = {}
        self._runs = threading.Lock()  # while the session is in use: see ``replace``

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        """See ``Running.run``. The GIL is released meanwhile. A slot without a row is not changed.

        Raises what onnxruntime raises.
        """
        with self._runs:
            return self._run(rows, logits)

    def _run(self, rows: Sequence[Row], logits: Logits) -> float:
        slots = span(rows)
        bound = self._bindings.get(slots) or self._bind(slots)
        # From step to step, rows that generate differ in some numbers only. Then nothing is bound
        # again.
        pointer = logits.ctypes.data
        shapes = ((row.slot, len(row.tokens), row.logits, row.reproducible) for row in rows)
        layout = (pointer, self.doubling, *shapes)
        if changed := bound.layout != layout:
            packed = pack(rows, slots, self.doubling)
            bound.layout, bound.inputs = layout, {n: packed[n] for n in self._graph.inputs}
        fill(bound.inputs, rows, slots, self._graph.short_context, self.doubling)
        if changed:
            for name, array in bound.inputs.items():
                at = (array.dtype.type, array.shape, array.ctypes.data)
                bound.binding.bind_input(name, "cpu", 0, *at)
            shape = (1, len(bound.inputs["last"]), self.vocabulary)
            bound.binding.bind_output("logits", "cpu", 0, np.float32, shape, pointer)
        began = time.perf_counter()
        self._session.run_with_iobinding(bound.binding)
        return time.perf_counter() - began

    def rebuild(self) -> None:
        with self._runs:
            self._bindings.clear()
            del self._session  # first: there may be no memory for two
            self._session = self._open()

    def replace(self, open_: Callable[[], ort.InferenceSession]) -> None:
        """Use another session of the same graph, between two runs. Any thread may call this.

        Raises what ``open_`` does. Then the session stays.
        """
        session = open_()
        with self._runs:
            self._bindings.clear()
            self._open, self._session = open_, session

    def reopen_by(self, open_: Callable[[], ort.InferenceSession]) -> None:
        """How to start the session from now on, if it must be started again."""
        with self._runs:
            self._open = open_

    def _bind(self, slots: range) -> _Bound:
        """Bind the keys and values of some slots."""
        binding = self._session.io_binding()
        for layer, names in enumerate(self._graph.caches):
            for part, (past, present) in enumerate(names.parts):
                at = self.cache.place(layer, part, slots)
                binding.bind_input(past, *at)
                binding.bind_output(present, *at)
        bound = self._bindings[slots] = _Bound(binding)
        return bound
