"""A random LoRA for a tiny decoder, as PEFT writes it, and what it adds to the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.tiny_encoder import safetensors

Array = npt.NDArray[np.float32]
RANK, ALPHA = 4, 6
_MODULES = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    "qkv_proj", "gate_up_proj",
)  # fmt: skip


def write_adapter(
    folder: Path,
    tensors: dict[str, Array],
    config: dict[str, Any] | None = None,
    *,
    more: dict[str, Array] | None = None,
    strength: float = 0.3,
) -> dict[str, Array]:
    """Writes an adapter for all linear layers among ``tensors``.

    Returns the tensors with the adapter merged, as the definition says: W + alpha / rank * B A.
    ``more``: further tensors of the adapter's file.
    """
    folder.mkdir()
    random = np.random.default_rng(3)
    merged, stored = dict(tensors), dict(more or {})
    for name, weights in tensors.items():
        module = name.removesuffix(".weight")
        if not module.endswith(_MODULES) or not name.endswith(".weight"):
            continue
        rows, columns = weights.shape
        down = random.standard_normal((RANK, columns), np.float32) * np.float32(columns**-0.5)
        up = random.standard_normal((rows, RANK), np.float32) * np.float32(strength)
        stored[f"base_model.model.{module}.lora_A.weight"] = down
        stored[f"base_model.model.{module}.lora_B.weight"] = up
        merged[name] = weights + np.float32(ALPHA / RANK) * np.matmul(up, down, dtype=np.float32)
    about = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"} | (config or {})
    (folder / "adapter_config.json").write_text(json.dumps(about))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(stored))
    return merged
