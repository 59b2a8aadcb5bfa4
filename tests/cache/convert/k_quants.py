"""Writes llama.cpp's Q4_K, which ``gguf`` only reads: plainly, without a search for scales."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def quantize_q4_k(rows: npt.NDArray[np.float32]) -> Bytes:
    """``[N, K]`` to the bytes of its blocks, ``[N, K / 256 * 144]``."""
    blocks = rows.reshape(-1, 8, 32)
    low = np.minimum(blocks.min(-1), 0)
    steps = (blocks.max(-1) - low) / 15
    step, least = (np.maximum(each.max(-1), 1e-8) / 63 for each in (steps, -low))
    step, least = (each.astype(np.float16).astype(np.float32)[:, None] for each in (step, least))
    scales = np.clip(np.rint(steps / step), 1, 63).astype(np.uint8)
    minimums = np.clip(np.rint(-low / least), 0, 63).astype(np.uint8)
    codes = (blocks + (least * minimums)[..., None]) / (step * scales)[..., None]
    codes = np.clip(np.rint(codes), 0, 15).astype(np.uint8)
    packed = [step.astype(np.float16).view(np.uint8), least.astype(np.float16).view(np.uint8)]
    packed.append(_six_bits(scales, minimums))
    pairs = codes.reshape(-1, 4, 2, 32)  # two blocks share 32 bytes
    packed.append((pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128))
    return np.concatenate(packed, axis=1).astype(np.uint8).reshape(len(rows), -1)


def _six_bits(scales: Bytes, minimums: Bytes) -> Bytes:
    """Eight scales and eight minimums of six bits in twelve bytes."""
    first = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    second = minimums[:, :4] | (minimums[:, 4:] >> 4) << 6
    third = (scales[:, 4:] & 15) | (minimums[:, 4:] & 15) << 4
    return np.concatenate([first, second, third], axis=1)
