"""A decoder with a serving graph, whose keys and values have the type that the model gives them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import onnxruntime as ort

from cupola.cache.convert.formats.unsigned_weights import for_this_processor
from cupola.cache.error_text import without_paths
from cupola.workers.device.device import CPU
from cupola.workers.device.machine import available_bytes
from cupola.workers.device.mapped_files import drop_pages
from cupola.workers.graph.attention_layers import UnservableGraphError
from cupola.workers.graph.block_graph import with_block_weights
from cupola.workers.graph.serving_graph import ServingGraph, serving_graph
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.sharing_cache import key_value_cache
from cupola.workers.model.model_folder import ModelFolder, graph_bytes
from cupola.workers.run.autotune import Autotune
from cupola.workers.run.exactness import required_doubling
from cupola.workers.run.packing import Doubling
from cupola.workers.run.prepacked import PrepackedWeights
from cupola.workers.run.runner import Runner
from cupola.workers.run.session import RaggedSession, session_options
from cupola.workers.run.side_by_side import LANES, SideBySide
from cupola.workers.run.step_runner import StepRunner
from cupola.workers.run.ways import MAX_BLOCK_TOKENS, BlockWeights, OneSession

logger = logging.getLogger(__name__)

# So many bytes of keys and values are copied in the time in which one byte of weights is read
# (measured with float32 beside weights of 8 bits).
COPY_SPEED = 1.25


class DecoderSession(RaggedSession):
    """One session that runs any step, and others for the steps in which they are faster.

    ``blocks`` is a second session for few tokens; ``lanes`` are two sessions for many rows. Both
    are built in the background. None: they are not wanted here.
    """

    cache: KeyValueCache
    blocks: BlockWeights | None = None
    lanes: SideBySide | None = None

    def __init__(
        self,
        folder: ModelFolder,
        *,
        slots: int,
        width: int,
        threads: int,
        prepacked: PrepackedWeights | None = None,
        block_bytes: int = 0,
        lanes: PrepackedWeights | None = None,
        autotune: Autotune | None = None,
    ) -> None:
        """Open the model.

        ``width``: the most tokens of one run. ``prepacked``: weights that are shared with other
        workers. ``block_bytes``: memory that a second copy of the weights, in blocks, may take; 0:
        no copy. ``lanes``: weights for the two lanes; None: no lanes. ``autotune``: what is known
        about the speed of each way.

        Raises UnservableGraphError, ModelFolderError, ProviderError.
        """
        grid = width + 1  # the last token of a row may take two places
        graph = serving_graph(folder.decoder, folder.head_size, padding=grid)
        opened = (prepacked or CPU).open
        # The unused places of a row lie behind its end, so a row is one grid longer than the
        # context.
        capacity = folder.context + grid
        self.cache = cache = key_value_cache(graph.kv, slots, capacity)
        self.copy_limit = int(COPY_SPEED * folder.decoder_bytes / graph.kv.bytes_per_token)
        model = for_this_processor(graph.model)
        open_ = partial(opened, model, session_options(folder, threads), folder.decoder.name)
        runner = Runner(graph, open_, cache)
        try:  # this also finds a graph that loads and cannot run
            doubling = required_doubling(runner, slots)
        except Exception as error:  # onnxruntime's own tree
            raise UnservableGraphError(f"its first run failed: {error}") from error
        if graph.has_experts:  # one that computes one token rounds differently
            doubling = Doubling.NOTHING
        runner.doubling = doubling
        first = OneSession(runner, self.copy_limit)
        if block_bytes:
            self.blocks = BlockWeights(
                partial(_build_blocks, graph, folder, threads, cache, block_bytes)
            )
        if lanes is not None and threads >= LANES:
            self.lanes = self._side_by_side(
                graph, model, folder, threads, lanes, runner, open_, shares=prepacked is not None
            )
        others = (way for way in (self.blocks, self.lanes) if way is not None)
        steps = StepRunner(first, *others, autotune=autotune)
        reproducible = doubling is not Doubling.NOTHING
        self._begin(steps, graph, slots, graph.kv.dtype, reproducible=reproducible)

    def _side_by_side(
        self,
        graph: ServingGraph,
        model: bytes,
        folder: ModelFolder,
        threads: int,
        weights: PrepackedWeights,
        runner: Runner,
        open_: Callable[[], ort.InferenceSession],
        *,
        shares: bool,
    ) -> SideBySide:
        """The lanes. ``runner``: of the session that runs any step, which ``open_`` starts;
        ``shares``: its weights lie in a file that others read as well."""
        name = folder.decoder.name
        options = session_options(folder, threads // LANES)
        map_weights = partial(weights.mapped, model, options, name)
        build = partial(_build_lanes, graph, map_weights, self.cache, runner.doubling)
        if shares:
            return SideBySide(build, self.copy_limit)
        if self.blocks is not None:
            whole = session_options(folder, threads)
            share = partial(runner.replace, partial(weights.open, model, whole, name))
            build = partial(_build_and_share, build, share, self.blocks)
        unless_lost = partial(_unless_lost, build, partial(weights.has_lost, model))
        forget = partial(_forget, partial(weights.give_up, model), partial(runner.reopen_by, open_))
        return SideBySide(unless_lost, self.copy_limit, forget)

    @property
    def parallel_prompts(self) -> int:
        return LANES if self.lanes is not None and self.lanes.ready else 1

    @property
    def built(self) -> bool:
        return all(way is None or way.built for way in (self.blocks, self.lanes))

    def wait(self) -> None:
        """Wait until everything is there that is built in the background."""
        for way in (self.blocks, self.lanes):
            if way is not None:
                way.wait()


def _build_blocks(
    graph: ServingGraph, folder: ModelFolder, threads: int, cache: KeyValueCache, max_bytes: int
) -> Runner | None:
    """A runner of the same cache whose weights lie in blocks.

    None: the model has no weights for blocks, they take more than ``max_bytes``, or its graph for
    few tokens is damaged. Raises OSError, UnservableGraphError, ModelFolderError and what
    ``Device.open`` does.
    """
    # It only makes steps faster, so nothing else shall be swapped out for it.
    max_bytes = min(max_bytes, available_bytes())
    if (file := folder.few_token_graph) is not None:
        if graph_bytes(file) > max_bytes:
            return None
        try:
            few = serving_graph(file, folder.head_size, padding=MAX_BLOCK_TOKENS)
            if few.kv != graph.kv:
                raise UnservableGraphError("it has other keys and values")
            options = session_options(folder, threads)
            runner = Runner(few, partial(CPU.open, few.model, options, file.name), cache)
            drop_pages(folder.path)
            return runner
        except Exception as error:  # a damaged file has errors of many kinds
            why = " ".join(without_paths(error, folder.path).split())
            name = folder.path.name
            logger.warning("%s: one answer at a time will be slower: %s: %s", name, file.name, why)
            return None

    def open_() -> ort.InferenceSession:
        # Made anew whenever the session is opened: the session has a copy of its own.
        blocks = with_block_weights(graph.model, folder.path, max_bytes)
        if blocks is None:
            raise UnservableGraphError("it has no weights to put into blocks")
        options = session_options(folder, threads)
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in blocks.weights.values()]
        options.add_external_initializers(list(blocks.weights), values)
        return CPU.open(blocks.model, options, folder.decoder.name)

    try:
        return Runner(graph, open_, cache)
    except UnservableGraphError:
        return None


def _unless_lost(
    build: Callable[[], list[Runner]], has_lost: Callable[[], bool]
) -> list[Runner] | None:
    """None: lanes were slower here, not long ago. Raises what ``build`` does."""
    return None if has_lost() else build()


def _build_and_share(
    build: Callable[[], list[Runner]], share: Callable[[], None], blocks: BlockWeights
) -> list[Runner]:
    """Lanes, and the first session reads what they have mapped instead of a copy of its own.

    Single tokens are faster with a copy, which lies in huge pages. So ``blocks`` must be there,
    which run them. Raises what ``build`` and ``share`` do.
    """
    lanes = build()
    blocks.wait()
    if blocks.ready:
        share()
    return lanes


def _forget(give_up: Callable[[], None], read_own: Callable[[], None]) -> None:
    """Delete the file of the lanes.

    The first session may have mapped it, and keeps it. One that starts in its place would write it
    again, so that one has a copy of its own.
    """
    read_own()
    give_up()


def _build_lanes(
    graph: ServingGraph,
    open_: Callable[[], ort.InferenceSession],
    cache: KeyValueCache,
    doubling: Doubling,
) -> list[Runner]:
    """Raises what ``open_`` does."""
    return [Runner(graph, open_, cache, doubling) for _ in range(LANES)]
