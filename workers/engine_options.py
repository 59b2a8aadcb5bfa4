"""How a worker runs its models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cupola.cache.home import Home

if TYPE_CHECKING:
    from cupola.workers.engine.sequence import Reproducible

_MOST_PREFIX_BYTES = 2**30  # unless a setting says otherwise: other programs need memory, too


def prefix_bytes(setting_mb: int, free: int) -> int:
    """Memory of a model's prefix cache, in bytes. Below 0: a share of the ``free`` bytes."""
    return min(free // 4, _MOST_PREFIX_BYTES) if setting_mb < 0 else setting_mb * 2**20


def block_bytes(setting_mb: int, free: int) -> int:
    """The largest second copy of weights, in bytes. Below 0: a share of the ``free`` bytes."""
    return free // 8 if setting_mb < 0 else setting_mb * 2**20


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a worker runs its models."""

    backend: str = "onnx"  # or "genai", or "echo"
    slots: int = 16  # sequences a model runs at once; 0: what is learnt to be the best
    spare_slots: int = 0  # more of them, for clients that run nothing there
    step_tokens: int = 256  # tokens a step holds at most
    itl_seconds: float = 0.1  # between two tokens of an answer while prompts are read
    context: int = 0  # cap on a model's context; 0: the model's own
    threads: int = 1
    kv_bytes: int = 2**30  # memory for keys and values
    prefix_bytes: int = 0  # memory for those of ended sequences, beside ``kv_bytes``
    prefix_folder: Path | None = None  # where they are on the disk; None: nowhere
    prefix_disk_bytes: int = 0  # that they take there, for all models
    device: int = 0  # which of the provider's devices
    provider_options: tuple[tuple[str, str], ...] = ()  # in onnxruntime's words
    home: Home | None = None  # its cache may hold weights that sessions map; None: no such cache
    shared_disk_mb: int = 0  # the most that such weights take there; 0: a quarter of the disk
    shares: bool = False  # map the weights, because other workers map them as well
    # The largest weights of which a second copy, in blocks, is kept for steps of few tokens. See
    # ``copied_bytes``.
    block_bytes: int = 0
    # The largest weights that are mapped, so that the halves of a step can run side by side.
    lane_bytes: int = 0
    int8_cache: bool = False  # keys and values of 8 bits if the model can; it needs ``home``
    reproducible: Reproducible = "asked"  # which requests must have the same answer again
    warm_up: bool = True  # prepare for requests while there are none
    recording_parts: int = 4  # parts of one recording that are heard at once, at most

    @property
    def copied_bytes(self) -> int:
        """The largest weights for few tokens that a model on a CPU gets."""
        once = self.shares or self.int8_cache or self.backend != "onnx"
        return 0 if once else self.block_bytes
