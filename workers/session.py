"""onnxruntime and its IO binding: one run of a serving graph, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
from cupola.workers.prepacked import PrepackedWeights
from cupola.workers.rows import Rows
from cupola.workers.serving_graph import serving_graph
from cupola.workers.sharing_cache import key_value_cache


@dataclass(frozen=True, slots=True)
class Row:
    """What one run reads for one slot: ``tokens`` behind the ``past`` positions in the cache."""

    slot: int
    past: int
    tokens: Sequence[int]
    logits: int  # of how many of the last tokens
    long: bool = False  # with the second rotary table, where the model has two


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
        opened = (prepacked or device).open
        self._open = partial(opened, graph.model, options, folder.decoder.name)
        self._session = self._open()
        # A row's unused places lie behind its end, so a row is one grid wider than the context.
        capacity = folder.context + width
        self.cache: KeyValueCache | DeviceCache
        if device.memory == "cpu":
            self.cache = key_value_cache(graph.kv, slots, capacity)
        else:
            slots = fitting(slots, graph.kv.bytes_per_token * capacity, cache_bytes)
            self.cache = DeviceCache(graph.kv, slots, capacity, device)
        self._caches = graph.caches
        self._has_positions = graph.has_positions
        self.short_context = graph.short_context
        self.slots = slots
        self.seconds = 0.0  # that the last run took
        self.vocabulary = graph.vocabulary
        self._logits = np.empty((slots, graph.vocabulary), np.float32)
        # Binding all keys and values costs a millisecond, so each number of rows is bound once.
        self._bindings: dict[int, ort.IOBinding] = {}
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
        below the highest one used that has no row stays as it is.
        """
        inputs = pack(rows, depth=max(row.slot for row in rows) + 1)
        if self._has_positions:
            inputs["position_ids"] = positions(rows, self.short_context)
        binding = self._binding(len(inputs["seqlens_k"]))
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        wanted = len(inputs["last"])
        if wanted > len(self._logits):
            self._logits = np.empty((wanted, self.vocabulary), np.float32)
        logits = self._logits[:wanted]
        shape = (1, *logits.shape)
        binding.bind_output("logits", "cpu", 0, np.float32, shape, logits.ctypes.data)
        began = time.perf_counter()
        self._session.run_with_iobinding(binding)
        self.seconds = time.perf_counter() - began
        return logits[: sum(row.logits for row in rows)]

    def rebuild(self) -> None:
        self._bindings.clear()
        del self._session  # first: there may be no memory for two
        self._session = self._open()

    def _binding(self, depth: int) -> ort.IOBinding:
        if binding := self._bindings.get(depth):
            return binding
        binding = self._bindings[depth] = self._session.io_binding()
        for layer, names in enumerate(self._caches):
            for part, (past, present) in enumerate(names.parts):
                at = self.cache.place(layer, part, depth)
                binding.bind_input(past, *at)
                binding.bind_output(present, *at)
        return binding


def pack(rows: Sequence[Row], depth: int) -> dict[str, NDArray[np.generic]]:
    """The inputs of one run over ``depth`` rows of the cache; see serving_graph for their shapes.

    Tokens are packed in the order of ``rows``, and so are the logits.
    """
    counts = np.array([len(row.tokens) for row in rows], np.int64)
    slots = np.array([row.slot for row in rows], np.int64)
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    width = int(counts.max())

    query = np.zeros(depth, np.int32)
    query[slots] = counts
    lengths = np.ones(depth, np.int64)  # an idle row must claim one cached position or more
    lengths[slots] = [row.past + len(row.tokens) for row in rows]

    # Every place of the grid names some packed token; those behind a row's end are never used.
    columns = np.arange(width)
    grid = np.zeros((depth, width, 2), np.int64)
    grid[slots, :, 1] = starts[:, None] + np.minimum(columns, counts[:, None] - 1)
    ungrid = np.empty((1, total, 2), np.int64)
    ungrid[0, :, 0] = np.repeat(slots, counts)
    ungrid[0, :, 1] = np.arange(total) - np.repeat(starts, counts)

    ends = (starts + counts).tolist()
    last = [
        end - back for row, end in zip(rows, ends, strict=True) for back in range(row.logits, 0, -1)
    ]
    return {
        "input_ids": np.array([[token for row in rows for token in row.tokens]], np.int64),
        "grid": grid,
        "ungrid": ungrid,
        "last": np.array(last or [0], np.int64),  # the head needs one
        "seqlens_k": (lengths - 1).astype(np.int32),
        "query_seqlens": query,
        "total_len": np.array(max(int(lengths.max()), width), np.int32),
    }


def positions(rows: Sequence[Row], shift: int) -> NDArray[np.int64]:
    """Where each packed token stands in its sequence: ``[1, T]``.

    ``shift``: how much higher the positions of long rows are, whose table lies behind the other.
    """
    starts = [row.past + shift * row.long for row in rows]
    spans = [np.arange(len(row.tokens)) + start for row, start in zip(rows, starts, strict=True)]
    return np.concatenate(spans)[None].astype(np.int64)
