"""A decoder with keys and values of 8 bits: a quarter of the memory, and half the time to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from cupola.cache.convert.formats.unsigned_weights import for_this_processor
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
from cupola.workers.run.runner import Logits, Runner, Running, run_in_turn
from cupola.workers.run.session import RaggedSession, session_options

# Rows of so few tokens run over int8: one token, and draft tokens behind it.
_MAX_DECODE = 1 + MAX_DRAFT_TOKENS
# Prompts of so few tokens run beside such rows, because the weights would be read once more for
# them.
_MAX_BESIDE = 32
_SCORE_BYTES = 2**26  # that one run may take for attention scores, which exist all at once

_GRAPH = "int8-1.onnx"  # the number changes with the content


class Int8Session(RaggedSession):
    """Two sessions over the same weights: one over int8, and one that reads prompts in float32.

    ``prompts`` is the one that reads prompts.
    """

    cache: KeyValueCache

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
        model = for_this_processor(graph.model)
        open_ = partial(prepacked.open, model, options, folder.decoder.name)
        floats = Runner(graph, open_, KeyValueCache(graph.kv, stages, capacity))
        self.prompts = PromptRunner(floats, cache, stages)
        try:
            tokenizer = (folder.path / "tokenizer.json").read_text("utf-8")
            text = calibration_ids(tokenizer, folder.context)
            observe = partial(self.prompts.observe, text, width)
            make = partial(with_int8_cache, head_size=graph.kv.head_size, observe=observe)
            path = prepacked.variant(model, _GRAPH, make)
            self.prompts.scales = scales_of(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UnservableGraphError(f"its graph for int8 cannot be kept: {error}") from error
        score_bytes = 4 * graph.heads * cache.capacity  # for one place of the grid
        # Tiles make attention over int8 a tenth to a third slower for several rows of few tokens.
        tiled = slots * _MAX_DECODE * score_bytes > _SCORE_BYTES
        decode = Runner(graph, partial(prepacked.map, path, threads, tiled=tiled), cache)
        self.cache = cache
        runner = _Int8Runner(decode, self.prompts, score_bytes)
        # Prompts and single tokens are computed from keys and values that are rounded differently.
        self._begin(runner, graph, slots, kv.dtype, reproducible=False)
        self._try_out()


class _Int8Runner:
    """Rows of few tokens over int8, then the others as prompts. See ``runner.Running``."""

    def __init__(self, decode: Runner, prompts: PromptRunner, score_bytes: int) -> None:
        self._decode = decode
        self._prompts = prompts
        self._score_bytes = score_bytes  # attention scores of one place of the grid

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        first = next((n for n, row in enumerate(rows) if len(row.tokens) > _MAX_DECODE), len(rows))
        while 0 < first < len(rows) and self._fits(rows[: first + 1]):
            first += 1
        self._prompts.on_cache_written(rows[:first])
        parts: tuple[tuple[Running, Sequence[Row]], ...]
        parts = (self._decode, rows[:first]), (self._prompts, rows[first:])
        return run_in_turn([(runner, part) for runner, part in parts if part], logits)

    def rebuild(self) -> None:
        self._decode.rebuild()
        self._prompts.rebuild()

    def _fits(self, rows: Sequence[Row]) -> bool:
        """Whether the last of the rows may run beside the others."""
        width = max(len(row.tokens) for row in rows)
        return width <= _MAX_BESIDE and len(span(rows)) * width * self._score_bytes <= _SCORE_BYTES
