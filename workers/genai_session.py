"""onnxruntime-genai behind the engine: for models whose graph cannot be rewritten.

One generator a slot, run one after the other: no batching across sequences, but everything else of
the engine works, because it draws the tokens itself. ``og`` is imported here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import onnxruntime_genai as og
from numpy.typing import NDArray

from cupola.workers.model_folder import ModelFolder, ModelFolderError
from cupola.workers.session import Row

og.disable_telemetry_events()


class NoCache:
    """The generators keep keys and values themselves: they can be cut, not copied or measured."""

    copies = False
    bytes_per_token = 0

    def copy(self, source: int, target: int, length: int) -> None:
        raise NotImplementedError("a generator's keys and values cannot be copied")

    def forget(self, slot: int) -> None:
        """The next sequence of the slot starts over anyway."""


class GenaiSession:
    """See ``session.DecoderSession``. Only the logits of a row's last token can be had."""

    verifies = False
    short_context = 0  # og itself begins anew where it must

    def __init__(self, folder: ModelFolder, *, slots: int) -> None:
        """Raises ModelFolderError."""
        self._path = folder.path
        self._model = self._open()
        self._context = folder.context
        self._generators: list[og.Generator | None] = [None] * slots
        self.slots = slots
        self.seconds = 0.0
        self.cache = NoCache()
        self.vocabulary = self._probe()

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Logits ``[R, vocabulary]`` of the last token of each row that wants any."""
        began = time.perf_counter()
        logits = [self._advance(row) for row in rows]
        self.seconds = time.perf_counter() - began
        wanted = [made for row, made in zip(rows, logits, strict=True) if row.logits]
        return np.stack(wanted) if wanted else np.empty((0, self.vocabulary), np.float32)

    def rebuild(self) -> None:
        self._generators = [None] * self.slots
        del self._model  # first: there may be no memory for two
        self._model = self._open()

    def _open(self) -> og.Model:
        try:
            return og.Model(str(self._path))
        except Exception as error:  # og's errors have no tree
            raise ModelFolderError(f"onnxruntime-genai refuses the model: {error}") from error

    def _advance(self, row: Row) -> NDArray[np.float32]:
        generator = self._generators[row.slot]
        if generator is None or row.past == 0:
            generator = self._generators[row.slot] = self._fresh()
        elif generator.token_count() > row.past:
            generator.rewind_to(row.past)
        generator.append_tokens(list(row.tokens))
        logits: NDArray[np.float32] = generator.get_logits()[0, -1].astype(np.float32)
        return logits

    def _fresh(self) -> og.Generator:
        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context, do_sample=False)
        return og.Generator(self._model, params)

    def _probe(self) -> int:
        """The width of the logits, which no file is sure to tell."""
        generator = self._fresh()
        generator.append_tokens([0])
        return int(generator.get_logits().shape[-1])
