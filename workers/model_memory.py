"""How much memory a model takes and how much there is. The only figures are of files and psutil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.machine import available_bytes, memory_bytes

# Files that are not a model's weights in memory, by their names' ends.
_NO_WEIGHTS = (".json", ".jinja", ".txt", ".md")


class ModelMemory:
    """``maps``: weights are mapped from files, so the system gives their memory back by itself.

    ``limit``: the most that this process may have, in bytes; 0: all that there is.
    """

    def __init__(
        self,
        maps: bool = False,
        available: Callable[[], int] = available_bytes,
        limit: int = 0,
        used: Callable[[], int] = memory_bytes,
    ) -> None:
        self._maps = maps
        self._available = available
        self._limit = limit
        self._used = used

    def needed(self, model: LocalModel) -> int:
        """Bytes of the model's weights; 0: they need not be kept free, or are not known."""
        return 0 if self._maps and not self._limit else self.size(model)

    def size(self, model: LocalModel) -> int:
        """Bytes of the model's weights; 0: they are not known."""
        try:
            files = [f for f in Path(model.path).rglob("*") if not f.name.endswith(_NO_WEIGHTS)]
            return sum(file.stat().st_size for file in files if file.is_file())
        except OSError:  # the load will say what is wrong
            return 0

    def available(self) -> int:
        """Bytes that can still be had without swapping, within the limit."""
        free = self._available()
        return min(free, max(0, self._limit - self._used())) if self._limit else free
