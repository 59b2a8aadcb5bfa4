"""Models that run rows: what an engine asks of one, and the decoder with a serving graph."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cupola.scheduler.messages import Serving
from cupola.workers.attention_layers import UnservableGraphError
from cupola.workers.block_graph import with_block_weights
from cupola.workers.device import CPU, Device
from cupola.workers.device_cache import DeviceCache, fitting
from cupola.workers.kv_cache import KeyValueCache
from cupola.workers.model_folder import ModelFolder
from cupola.workers.packing import Row, runs
from cupola.workers.prepacked import PrepackedWeights
from cupola.workers.rivals import Rivals
from cupola.workers.rows import Rows
from cupola.workers.runner import Runner, Running
from cupola.workers.serving_graph import ServingGraph, serving_graph
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
    def copied(self) -> int:
        """Of how many tokens the keys and values are copied, beside rows of several tokens, in the
        time in which a run reads the weights."""

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


class DecoderSession(RaggedSession):
    """With keys and values as the model has them."""

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
        block_bytes: int = 0,
    ) -> None:
        """``width``: the most tokens a run takes. ``cache_bytes``: on a device that commits all of
        its memory at once, for keys and values; there are fewer slots where it is little.
        ``prepacked``: weights to share with other workers. ``block_bytes``: that weights may take
        which are in memory once more, for steps of few tokens.

        Raises UnservableGraphError, ModelFolderError, ProviderError.
        """
        graph = serving_graph(folder.decoder, folder.head_size, padding=width)
        opened = (prepacked or device).open
        # A row's unused places lie behind its end, so a row is one grid wider than the context.
        capacity = folder.context + width
        cache: KeyValueCache | DeviceCache
        if device.memory == "cpu":
            cache = key_value_cache(graph.kv, slots, capacity)
            self.copied = int(_COPIED * _size(folder.decoder) / graph.kv.bytes_per_token)
        else:
            slots = fitting(slots, graph.kv.bytes_per_token * capacity, cache_bytes)
            cache = DeviceCache(graph.kv, slots, capacity, device)
        open_ = partial(opened, graph.model, session_options(folder, threads), folder.decoder.name)
        runner = Runner(graph, open_, cache)
        self.cache = cache
        self._runner: Running = runner
        if block_bytes and isinstance(cache, KeyValueCache):
            few = partial(_few, graph, folder, threads, cache, block_bytes)
            self._runner = Rivals(runner, few)
        self._begin(graph, slots, graph.kv.dtype)

    def _parts(self, rows: Sequence[Row]) -> list[tuple[Running, Sequence[Row]]]:
        return [(self._runner, part) for part in runs(rows, self.copied)]

    def rebuild(self) -> None:
        self._runner.rebuild()


def _few(
    graph: ServingGraph, folder: ModelFolder, threads: int, cache: KeyValueCache, most: int
) -> Runner | None:
    """A runner of the same cache that may be faster for few tokens. Raises OSError and what
    ``Device.open`` does."""

    def open_() -> ort.InferenceSession:
        made = with_block_weights(graph.model, folder.path, most)
        if made is None:
            raise UnservableGraphError("it has no weights to put into blocks")
        options = session_options(folder, threads)
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in made.weights.values()]
        options.add_external_initializers(list(made.weights), values)
        return CPU.open(made.model, options, folder.decoder.name)

    try:
        return Runner(graph, open_, cache)
    except UnservableGraphError:
        return None


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


def _size(graph: Path) -> int:
    """Bytes of a graph and of the external data beside it."""
    return sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
