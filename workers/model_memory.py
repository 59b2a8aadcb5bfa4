"""How much memory a model takes and how much there is. The only figures are of files and psutil."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.model_config import (
    ENCODER,
    FEW_TOKEN_FILES,
    FEW_TOKEN_GRAPH,
    RANKER,
    SPEECH,
    read_config,
)
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.machine import available_bytes, memory_bytes
from cupola.workers.model.model_folder import ModelFolder, graph_bytes

# Files that are not a model's weights in memory, by their names' ends.
_NO_WEIGHTS = (".json", ".jinja", ".txt", ".md")
# Bytes of a graph that is read while other models generate. A larger one has its weights inside.
_MOST_GRAPH = 64 * 2**20


class ModelMemory:
    """``maps``: weights are mapped from files, so the system gives their memory back by itself.

    ``limit``: the most that this process may have, in bytes; 0: all that there is. ``copies``: the
    largest weights for few tokens that a model on a CPU gets, in bytes.
    """

    def __init__(
        self,
        maps: bool = False,
        available: Callable[[], int] = available_bytes,
        limit: int = 0,
        used: Callable[[], int] = memory_bytes,
        copies: int = 0,
    ) -> None:
        self._maps = maps
        self._available = available
        self._limit = limit
        self._used = used
        self._copies = copies

    def needed(self, model: LocalModel) -> int:
        """Bytes of the model's weights; 0: they need not be kept free, or are not known.

        Without those that it can do without: see ``copied``.
        """
        return 0 if self._maps and not self._limit else _bytes(model, FEW_TOKEN_FILES)

    def copied(self, model: LocalModel) -> int:
        """Bytes of the weights for few tokens, which are built after the load; 0: there are none.

        They are those of a graph in the model's folder, or a copy of its weights in blocks.
        """
        if not self._copies or model.provider is not ExecutionProvider.CPU:
            return 0
        folder = Path(model.path)
        try:
            size = graph_bytes(folder / FEW_TOKEN_GRAPH) or _block_bytes(folder)
        except (OSError, ValueError):  # the load will say what is wrong
            return 0
        return size if size <= self._copies else 0

    def size(self, model: LocalModel) -> int:
        """Bytes of all of the model's weights; 0: they are not known."""
        return _bytes(model)

    def available(self) -> int:
        """Bytes that can still be had without swapping, within the limit."""
        free = self._available()
        return min(free, max(0, self._limit - self._used())) if self._limit else free


def _bytes(model: LocalModel, but: Collection[str] = ()) -> int:
    """Size of the model's weights in its folder, without the files of these names."""
    try:
        files = [file for file in Path(model.path).rglob("*") if file.name not in but]
        weights = [file for file in files if not file.name.endswith(_NO_WEIGHTS)]
        return sum(file.stat().st_size for file in weights if file.is_file())
    except OSError:  # the load will say what is wrong
        return 0


def _block_bytes(folder: Path) -> int:
    """Bytes of a model's weights in blocks; 0: there are none, or they are not known.

    Raises OSError, ValueError.
    """
    from cupola.workers.graph.block_graph import block_weight_bytes

    generates = read_config(folder).model.type not in (ENCODER, RANKER, SPEECH)
    decoder = ModelFolder.read(folder).decoder if generates else None
    if decoder is None or decoder.stat().st_size > _MOST_GRAPH:
        return 0
    return block_weight_bytes(decoder)
