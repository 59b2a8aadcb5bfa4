"""A decoder on a GPU: one session of a paged graph, over blocks of the GPU's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.workers.device.device import Device
from cupola.workers.graph.paged_graph import BLOCK, paged_graph
from cupola.workers.graph.serving_graph import ServingGraph
from cupola.workers.kv.block_table import BlockTable, blocks_for
from cupola.workers.kv.paged_cache import PagedCache
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits
from cupola.workers.run.session import RaggedSession, session_options


class PagedSession(RaggedSession):
    """A ``Session`` for devices whose runtime has PagedAttention."""

    cache: PagedCache

    def __init__(
        self, folder: ModelFolder, *, slots: int, threads: int, device: Device, cache_bytes: int
    ) -> None:
        """Open the model.

        ``cache_bytes``: memory for keys and values. There is room for one whole context in any
        case. Raises UnservableGraphError, ModelFolderError, ProviderError.
        """
        graph = paged_graph(folder.decoder, folder.head_size)
        positions = max(cache_bytes // graph.kv.bytes_per_token, folder.context)
        blocks = blocks_for(positions, slots, BLOCK)
        self.cache = PagedCache(graph.kv, slots, blocks, BLOCK, device)
        options = session_options(folder, threads)
        open_ = partial(device.open, graph.model, options, folder.decoder.name)
        runner = PagedRunner(graph, open_, self.cache)
        # Whether a row's bits depend on its neighbours was not looked at on a GPU.
        self._begin(runner, graph, slots, graph.kv.dtype, reproducible=False)
        self._try_out()


class PagedRunner:
    """A session of a paged graph, and the cache that it reads and writes in place."""

    def __init__(
        self, graph: ServingGraph, open_: Callable[[], ort.InferenceSession], cache: PagedCache
    ) -> None:
        """``open_`` starts the session. Raises what ``open_`` does."""
        self._graph = graph
        self._cache = cache
        self._open = open_
        self._start()

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        """See ``runner.Running.run``. Raises what onnxruntime raises."""
        inputs = pack_blocks(rows, self._cache.blocks)
        for name in self._graph.inputs:
            array = inputs[name]
            at = (array.dtype.type, array.shape, array.ctypes.data)
            self._binding.bind_input(name, "cpu", 0, *at)
        shape = (1, len(inputs["last"]), self._graph.vocabulary)
        self._binding.bind_output("logits", "cpu", 0, np.float32, shape, logits.ctypes.data)
        began = time.perf_counter()
        self._session.run_with_iobinding(self._binding)
        return time.perf_counter() - began

    def rebuild(self) -> None:
        """See ``runner.Running.rebuild``."""
        del self._binding, self._session  # first: there may be no memory for two
        self._start()

    def _start(self) -> None:
        self._session = self._open()
        self._binding = self._session.io_binding()
        for names, parts in zip(self._graph.caches, self._cache.parts, strict=True):
            for (past, present), part in zip(names.parts, parts, strict=True):
                self._binding.bind_ortvalue_input(past, part)
                self._binding.bind_ortvalue_output(present, part)


def pack_blocks(rows: Sequence[Row], blocks: BlockTable) -> dict[str, NDArray[np.generic]]:
    """The inputs of one run, whose shapes ``paged_graph`` gives. Rows get the blocks they need.

    Raises OutOfBlocksError.
    """
    lengths = [row.past + len(row.tokens) for row in rows]
    for row, length in zip(rows, lengths, strict=True):
        blocks.grow(row.slot, length)
    counts = [len(row.tokens) for row in rows]
    ends = np.cumsum(counts).tolist()
    last = [
        end - back for row, end in zip(rows, ends, strict=True) for back in range(row.logits, 0, -1)
    ]
    tokens = [token for row in rows for token in row.tokens]
    positions = [
        place
        for row, length in zip(rows, lengths, strict=True)
        for place in range(row.past, length)
    ]
    return {
        "input_ids": np.array([tokens], np.int64),
        "last": np.array(last or [0], np.int64),  # the head needs one
        "cumulative_len": np.array([0, *ends], np.int32),
        "past_len": np.array([row.past for row in rows], np.int32),
        "block_table": blocks.table([row.slot for row in rows]),
        "longest": np.array([max(counts), max(lengths)], np.int32),
        "position_ids": np.array([positions], np.int64),
    }
