"""Models that run rows: what an engine asks of one, and what those over a serving graph share."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.scheduler.protocol.messages import Serving
from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.serving_graph import ServingGraph
from cupola.workers.kv.kv_store import Rows
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Running


class Session(Protocol):
    """A model that runs rows. ``DecoderSession``, or ``GenaiSession`` where that cannot."""

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
    def copied(self) -> int:
        """Of how many tokens the keys and values are copied, beside rows of several tokens, in the
        time in which a run reads the weights."""

    @property
    def abreast(self) -> int:
        """How many prompts should be read at once, if there are so many."""

    @property
    def short_context(self) -> int:
        """Tokens that a sequence may have before it must be read as ``long``; 0: it never must."""

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One run; logits ``[R, vocabulary]`` of the tokens that are wanted, in order."""

    def rebuild(self) -> None:
        """Start over after a run that failed, which can leave a session unusable. The keys and
        values that it may have written are not to be used. Raises ModelFolderError."""


class RaggedSession(ABC):
    """A decoder with a serving graph, and the keys and values of ``slots`` sequences in place."""

    serving: Serving
    verifies = True
    copied = sys.maxsize
    cache: Rows

    @property
    def abreast(self) -> int:
        return 1

    def _begin(self, graph: ServingGraph, slots: int, kv_type: np.dtype[np.generic]) -> None:
        """The last thing that a constructor does. Raises UnservableGraphError."""
        self.serving = Serving("batching", kv_cache=str(kv_type))
        self.short_context = graph.short_context
        self.slots = slots
        self.seconds = 0.0  # that the last run took
        self.vocabulary = graph.vocabulary
        self._logits = np.empty((slots + 1, graph.vocabulary), np.float32)
        self._try_out()

    @abstractmethod
    def _parts(self, rows: Sequence[Row]) -> list[tuple[Running, Sequence[Row]]]:
        """The runs that are to be made of these rows, in their order."""

    @abstractmethod
    def rebuild(self) -> None: ...

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
        self.seconds = 0.0
        done = 0
        for runner, part in self._parts(rows):
            self.seconds += runner.run(part, self._logits[done:])
            done += sum(row.logits for row in part)
        return self._logits[:wanted]


def session_options(folder: ModelFolder, threads: int) -> ort.SessionOptions:
    """Those of a session whose graph has its weights in the folder."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.path)
    )
    # Between two runs the other processes need the cores more than threads that spin do.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
