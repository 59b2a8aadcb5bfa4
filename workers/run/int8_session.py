"""A decoder with keys and values of 8 bits: a quarter of the memory, and half the time to read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from cupola.cache.convert.quantization.calibration import calibration_ids
from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.int8_graph import scales_of, with_int8_cache
from cupola.workers.graph.serving_graph import serving_graph
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.sharing_cache import key_value_cache
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.packing import MAX_DRAFT_TOKENS, Row, span
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.prompt_runner import STAGES, PromptRunner
from cupola.workers.run.runner import Runner, Running
from cupola.workers.run.session import RaggedSession, session_options

# Tokens that a row may bring to be run over int8: one, and guesses behind it; and short prompts
# beside such rows, for which the weights would be read once more.
_SHORT, _BESIDE = 1 + MAX_DRAFT_TOKENS, 32
_SCORES = 2**26  # bytes that a run may take for them: without tiles they are all there at once

_GRAPH = "int8-1.onnx"  # another number when what is in it changes

# Tiles cost attention over int8 a tenth to a third of its speed for several rows of few tokens.
# Where the scores of all slots have room, this switches them off.
_UNTILED = "ORT_GQA_DISABLE_FLASH_ATTENTION"


class Int8Session(RaggedSession):
    """Two sessions over the same weights: one over int8, and one that reads prompts in float32."""

    def __init__(
        self,
        folder: ModelFolder,
        prepacked: PrepackedWeights,
        *,
        slots: int,
        width: int,
        threads: int,
    ) -> None:
        """See ``DecoderSession``. Raises UnservableGraphError, ModelFolderError, ProviderError."""
        graph = serving_graph(folder.decoder, folder.head_size, padding=width)
        if graph.kv.dtype != np.float32:
            raise UnservableGraphError(f"its keys and values are {graph.kv.dtype}, not float32")
        capacity = folder.context + width
        kv = replace(graph.kv, dtype=np.dtype(np.int8))
        cache = key_value_cache(kv, slots, capacity)
        stages = min(STAGES, slots)
        options = session_options(folder, threads)
        open_ = partial(prepacked.open, graph.model, options, folder.decoder.name)
        floats = Runner(graph, open_, KeyValueCache(graph.kv, stages, capacity))
        self._prompts = PromptRunner(floats, cache, stages)
        try:
            tokenizer = (folder.path / "tokenizer.json").read_text("utf-8")
            text = calibration_ids(tokenizer, folder.context)
            observe = partial(self._prompts.observe, text, width)
            make = partial(with_int8_cache, head_size=graph.kv.head_size, observe=observe)
            path = prepacked.variant(graph.model, _GRAPH, make)
            self._prompts.scales = scales_of(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UnservableGraphError(f"its graph for int8 cannot be kept: {error}") from error
        self._place_bytes = 4 * graph.heads * cache.capacity  # of scores, for a place of the grid
        tiled = slots * _SHORT * self._place_bytes > _SCORES
        self._short = Runner(graph, partial(_open, prepacked, path, threads, tiled), cache)
        self.cache = cache
        self._begin(graph, slots, kv.dtype)

    def _parts(self, rows: Sequence[Row]) -> list[tuple[Running, Sequence[Row]]]:
        first = next((n for n, row in enumerate(rows) if len(row.tokens) > _SHORT), len(rows))
        while 0 < first < len(rows) and self._fits(rows[: first + 1]):
            first += 1
        self._prompts.written(rows[:first])
        parts: list[tuple[Running, Sequence[Row]]]
        parts = [(self._short, rows[:first]), (self._prompts, rows[first:])]
        return [(runner, part) for runner, part in parts if part]

    def _fits(self, rows: Sequence[Row]) -> bool:
        """Whether the last of the rows may run beside the others."""
        width = max(len(row.tokens) for row in rows)
        return width <= _BESIDE and len(span(rows)) * width * self._place_bytes <= _SCORES

    def rebuild(self) -> None:
        self._short.rebuild()
        self._prompts.rebuild()


def _open(
    prepacked: PrepackedWeights, graph: Path, threads: int, tiled: bool
) -> ort.InferenceSession:
    """``tiled``: whether attention does without memory for all scores of a run."""
    before = os.environ.get(_UNTILED)
    os.environ[_UNTILED] = "0" if tiled else "1"  # read when a session starts
    try:
        return prepacked.map(graph, threads)
    finally:
        if before is None:
            del os.environ[_UNTILED]
        else:
            os.environ[_UNTILED] = before
