"""Models that run rows: what the engine needs of one, and what all over a serving graph share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime as ort

from cupola.scheduler.protocol.status import Serving
from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.serving_graph import ServingGraph
from cupola.workers.kv.kv_store import KVStore
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits, Running


class Session(Protocol):
    """A model that runs rows: a ``DecoderSession``, or a ``GenaiSession`` for other graphs."""

    @property
    def serving(self) -> Serving:
        """How the model runs; for people."""

    @property
    def slots(self) -> int:
        """How many sequences it can hold."""

    @property
    def vocabulary(self) -> int:
        """Columns of the logits."""

    @property
    def cache(self) -> KVStore:
        """The keys and values of the slots."""

    @property
    def seconds(self) -> float:
        """How long the last run took."""

    @property
    def verifies_drafts(self) -> bool:
        """Whether one run can give the logits of several tokens of a row."""

    @property
    def copy_limit(self) -> int:
        """Positions whose keys and values are copied in the time in which the weights are read.

        The copy is made in runs in which rows bring several tokens.
        """

    @property
    def built(self) -> bool:
        """Whether nothing of it is still built in the background."""

    @property
    def parallel_prompts(self) -> int:
        """How many prompts should be read in the same step, if there are so many."""

    @property
    def short_context(self) -> int:
        """The most tokens of a sequence that is not read as ``long``; 0: there is no limit."""

    def run(self, rows: Sequence[Row]) -> Logits:
        """One step: the wanted logits ``[R, vocabulary]``, in order of ``rows``."""

    def rebuild(self) -> None:
        """Start over after a run that failed, which can leave a session unusable.

        The keys and values that the run may have written must not be used. Raises ModelFolderError.
        """


class RaggedSession:
    """A decoder with a serving graph, and the keys and values of ``slots`` sequences in place."""

    serving: Serving
    verifies_drafts = True
    copy_limit = sys.maxsize
    cache: KVStore

    @property
    def built(self) -> bool:
        return True

    @property
    def parallel_prompts(self) -> int:
        return 1

    def _begin(
        self,
        runner: Running,
        graph: ServingGraph,
        slots: int,
        kv_type: np.dtype[np.generic],
        *,
        reproducible: bool,
    ) -> None:
        """What all constructors do. ``reproducible``: rows that ask for it are."""
        self._runner = runner
        self.serving = Serving("batching", kv_cache=str(kv_type), reproducible=reproducible)
        self.short_context = graph.short_context
        self.slots = slots
        self.seconds = 0.0
        self.vocabulary = graph.vocabulary
        self._logits = np.empty((slots + 1, graph.vocabulary), np.float32)

    def _try_out(self) -> None:
        """Run once, so that a graph that loads and cannot run is found now."""
        rows = [Row(slot, 0, [0] * (2 - slot), 1) for slot in range(min(2, self.slots))]
        try:
            self.run(rows)
        except Exception as error:  # onnxruntime's own tree
            raise UnservableGraphError(f"its first run failed: {error}") from error
        for row in rows:
            self.cache.forget(row.slot)

    def run(self, rows: Sequence[Row]) -> Logits:
        """One step: the wanted logits ``[R, vocabulary]``, in order of ``rows``.

        The result is a view that the next step overwrites. The GIL is released meanwhile. A slot
        without a row is not changed. Raises what onnxruntime raises.
        """
        wanted = sum(row.logits for row in rows)
        if wanted >= len(self._logits):  # a run may make one more than are wanted
            self._logits = np.empty((wanted + 1, self.vocabulary), np.float32)
        self.seconds = self._runner.run(rows, self._logits)
        return self._logits[:wanted]

    def rebuild(self) -> None:
        """See ``Session.rebuild``."""
        self._runner.rebuild()


def session_options(folder: ModelFolder, threads: int) -> ort.SessionOptions:
    """Options of a session whose graph has its weights in the folder."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.path)
    )
    # Between two runs the other processes need the cores more than spinning threads do.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
