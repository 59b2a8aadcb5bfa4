"""onnxruntime and its IO binding: one run of a serving graph, and nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.scheduler.messages import Serving
from cupola.workers.attention_layers import UnservableGraphError
from cupola.workers.device import CPU, Device
from cupola.workers.device_cache import DeviceCache, fitting
from cupola.workers.kv_cache import KeyValueCache
from cupola.workers.model_folder import ModelFolder
from cupola.workers.packing import Row, fill, pack, runs, span
from cupola.workers.prepacked import PrepackedWeights
from cupola.workers.rows import Rows
from cupola.workers.serving_graph import serving_graph
from cupola.workers.sharing_cache import key_value_cache

# Keys and values are copied rather than the weights read again while they are so many times as many
# bytes (measured; float32 beside weights of 8 bits).
_COPIED = 1.25


class Session(Protocol):
    """A model that runs rows. ``DecoderSession`` here, ``GenaiSession`` where it cannot."""

    @property
    def serving(self) -> Serving:
        """How the model runs; for people."""

    @property
    def slots(self) -> int: ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def cache(self) -> Rows: ...

    @property
    def seconds(self) -> float:
        """What the last run took."""

    @property
    def verifies(self) -> bool:
        """Whether the logits of several tokens of a row can be had."""

    @property
    def short_context(self) -> int:
        """Tokens that a sequence may have before it must be read as ``long``; 0: it never must."""

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One run; logits ``[R, vocabulary]`` of the tokens that are wanted, in order."""

    def rebuild(self) -> None:
        """Start over after a run that failed, which can leave a session unusable. The keys and
        values that it may have written are not to be used. Raises ModelFolderError."""


@dataclass(slots=True)
class _Bound:
    """The memory that a run reads and writes, and the layout of its rows there."""

    binding: ort.IOBinding
    layout: tuple[object, ...] = ()
    inputs: dict[str, NDArray[np.generic]] = field(default_factory=dict)


class DecoderSession:
    """A decoder with the keys and values of ``slots`` sequences, bound in place."""

    serving = Serving("batching")

    def __init__(
        self,
        folder: ModelFolder,
        *,
        slots: int,
        width: int,
        threads: int,
        device: Device = CPU,
        cache_bytes: int = 0,
        prepacked: PrepackedWeights | None = None,
    ) -> None:
        """``width``: the most tokens a run takes. ``cache_bytes``: on a device that commits all of
        its memory at once, for keys and values; there are fewer slots where it is little.
        ``prepacked``: weights to share with other workers.

        Raises UnservableGraphError, ModelFolderError, ProviderError.
        """
        self.verifies = True
        graph = serving_graph(folder.decoder, folder.head_size, padding=width)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder.path)
        )
        # Between two runs the other processes need the cores more than threads that spin do.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        opened = (prepacked or device).open
        self._open = partial(opened, graph.model, options, folder.decoder.name)
        self._session = self._open()
        # A row's unused places lie behind its end, so a row is one grid wider than the context.
        capacity = folder.context + width
        self.cache: KeyValueCache | DeviceCache
        self._on_device = device.memory != "cpu"
        self._copied = sys.maxsize
        if not self._on_device:
            self.cache = key_value_cache(graph.kv, slots, capacity)
            self._copied = int(_COPIED * _size(folder.decoder) / graph.kv.bytes_per_token)
        else:
            slots = fitting(slots, graph.kv.bytes_per_token * capacity, cache_bytes)
            self.cache = DeviceCache(graph.kv, slots, capacity, device)
        self._caches = graph.caches
        self._inputs = graph.inputs
        self.short_context = graph.short_context
        self.slots = slots
        self.seconds = 0.0  # that the last run took
        self.vocabulary = graph.vocabulary
        self._logits = np.empty((slots + 1, graph.vocabulary), np.float32)
        # Binding all keys and values costs a millisecond, so the same slots are bound once.
        self._bindings: dict[range, _Bound] = {}
        self._try_out()

    def _try_out(self) -> None:
        """One run, so that a graph that loads and cannot run is found now."""
        rows = [Row(slot, 0, [0] * (2 - slot), 1) for slot in range(min(2, self.slots))]
        try:
            self.run(rows)
        except Exception as error:  # onnxruntime's own tree
            raise UnservableGraphError(f"its first run failed: {error}") from error
        for row in rows:
            self.cache.forget(row.slot)

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One run; logits ``[R, vocabulary]`` of the tokens that are wanted, in order of ``rows``.

        The result is a view that the next run overwrites. The GIL is released meanwhile. A slot
        that has no row stays as it is.
        """
        wanted = sum(row.logits for row in rows)
        if wanted >= len(self._logits):  # one more, for rows of which none are wanted
            self._logits = np.empty((wanted + 1, self.vocabulary), np.float32)
            self._bindings.clear()
        self.seconds = 0.0
        done = 0
        for part in runs(rows, self._copied):
            self._run(part, done)
            done += sum(row.logits for row in part)
        return self._logits[:wanted]

    def _run(self, rows: Sequence[Row], first: int) -> None:
        """One run of the model, whose logits begin at the row ``first`` of the buffer."""
        slots = span(rows)
        bound = self._bindings.get(slots) or self._bind(slots)
        # Rows that generate differ from step to step in some numbers only: nothing is bound anew,
        # unless binding copies the inputs to a device.
        layout = (first, *((row.slot, len(row.tokens), row.logits) for row in rows))
        if anew := bound.layout != layout or self._on_device:
            packed = pack(rows, slots)
            bound.layout, bound.inputs = layout, {name: packed[name] for name in self._inputs}
        fill(bound.inputs, rows, slots, self.short_context)
        if anew:
            for name, array in bound.inputs.items():
                at = (array.dtype.type, array.shape, array.ctypes.data)
                bound.binding.bind_input(name, "cpu", 0, *at)
            shape = (1, len(bound.inputs["last"]), self.vocabulary)
            pointer = self._logits[first:].ctypes.data
            bound.binding.bind_output("logits", "cpu", 0, np.float32, shape, pointer)
        began = time.perf_counter()
        self._session.run_with_iobinding(bound.binding)
        self.seconds += time.perf_counter() - began

    def rebuild(self) -> None:
        self._bindings.clear()
        del self._session  # first: there may be no memory for two
        self._session = self._open()

    def _bind(self, slots: range) -> _Bound:
        """Bind the keys and values of some slots."""
        binding = self._session.io_binding()
        for layer, names in enumerate(self._caches):
            for part, (past, present) in enumerate(names.parts):
                at = self.cache.place(layer, part, slots)
                binding.bind_input(past, *at)
                binding.bind_output(present, *at)
        bound = self._bindings[slots] = _Bound(binding)
        return bound


def _size(graph: Path) -> int:
    """Bytes of a graph and of the external data beside it."""
    return sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
