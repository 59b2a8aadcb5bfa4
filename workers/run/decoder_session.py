"""A decoder with a serving graph, and keys and values as the model has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import onnxruntime as ort

from cupola.workers.device.device import CPU, Device
from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.block_graph import with_block_weights
from cupola.workers.graph.serving_graph import ServingGraph, serving_graph
from cupola.workers.kv.device_cache import DeviceCache, fitting
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.sharing_cache import key_value_cache
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.lanes import LANES, Lane, Lanes
from cupola.workers.run.packing import Row
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.rivals import Rivals
from cupola.workers.run.runner import Runner, Running
from cupola.workers.run.session import RaggedSession, session_options

# Keys and values are copied rather than the weights read again while they are so many times as many
# bytes (measured; float32 beside weights of 8 bits).
_COPIED = 1.25


class DecoderSession(RaggedSession):
    """One session; where they are faster, another one for few tokens, and two for many."""

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
        lanes: PrepackedWeights | None = None,
    ) -> None:
        """``width``: the most tokens a run takes. ``cache_bytes``: on a device that commits all of
        its memory at once, for keys and values; there are fewer slots where it is little.
        ``prepacked``: weights to share with other workers. ``block_bytes``: that weights may take
        which are in memory once more, for steps of few tokens. ``lanes``: weights for two sessions
        that may run halves of a step side by side.

        Raises UnservableGraphError, ModelFolderError, ProviderError.
        """
        graph = serving_graph(folder.decoder, folder.head_size, padding=width)
        opened = (prepacked or device).open
        # A row's unused places lie behind its end, so a row is one grid wider than the context.
        capacity = folder.context + width
        cache: KeyValueCache | DeviceCache
        if device.memory == "cpu":
            cache = key_value_cache(graph.kv, slots, capacity)
            self.copied = int(_COPIED * folder.decoder_bytes / graph.kv.bytes_per_token)
        else:
            slots = fitting(slots, graph.kv.bytes_per_token * capacity, cache_bytes)
            cache = DeviceCache(graph.kv, slots, capacity, device)
        open_ = partial(opened, graph.model, session_options(folder, threads), folder.decoder.name)
        runner = Runner(graph, open_, cache)
        self.cache = cache
        self._rivals = self._lanes = None
        if block_bytes and isinstance(cache, KeyValueCache):
            few = partial(_few, graph, folder, threads, cache, block_bytes)
            self._rivals = Rivals(runner, few)
        self._runner: Running = Lane(self._rivals or runner, self.copied)
        if lanes is not None and threads >= LANES:
            options = session_options(folder, threads // LANES)
            half = partial(lanes.mapped, graph.model, options, folder.decoder.name)
            make = partial(_lanes, graph, half, cache, self.copied)
            self._runner = self._lanes = Lanes(self._runner, make)
        self._begin(graph, slots, graph.kv.dtype)

    @property
    def abreast(self) -> int:
        return LANES if self._lanes is not None and self._lanes.made else 1

    def wait(self) -> None:
        """Until there is all that is made in the background."""
        for each in (self._rivals, self._lanes):
            if each is not None:
                each.wait()

    def _parts(self, rows: Sequence[Row]) -> list[tuple[Running, Sequence[Row]]]:
        return [(self._runner, rows)]

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


def _lanes(
    graph: ServingGraph,
    open_: Callable[[], ort.InferenceSession],
    cache: KeyValueCache | DeviceCache,
    copied: int,
) -> list[Lane]:
    """Raises what ``open_`` does."""
    return [Lane(Runner(graph, open_, cache), copied) for _ in range(LANES)]
