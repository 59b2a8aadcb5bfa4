"""Rounds weights to codes of four bits, for files that have more.

A block's scale and offset are searched: the range between its lowest and its highest weight is
narrowed step by step, and for the codes that follow the best scale and offset are those of least
squares (as llama.cpp's K-quants are made). GPTQ on top of it was worse on other texts: the
calibration text is too short for errors of this size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_blocks import CodedRows, Coding
from cupola.cache.convert.quantization.quantize import BLOCK

Array = npt.NDArray[np.float32]

# What rounded rows look like: as GGUF's Q4_1 does.
ROUNDED = Coding(BLOCK, symmetric=False)

_LARGEST = 15
_RANGES = (1.0, 0.94, 0.88, 0.82)  # shares of a block's range that the codes cover
_TINY = np.float32(1e-30)
_SEARCHED = 1 << 20  # weights that are searched together: they stay in the processor's cache


def nearest_codes(rows: Array) -> CodedRows:
    """Rounds ``[N, K]``, each weight to the nearest code. K is a multiple of ``BLOCK``."""
    count, width = rows.shape
    step = max(1, _SEARCHED // width)
    parts = [_nearest(rows[start : start + step]) for start in range(0, count, step)]
    codes, scales, offsets = (np.concatenate(each) for each in zip(*parts, strict=True))
    blocks = width // BLOCK
    return CodedRows(
        codes.reshape(count, width), scales.reshape(count, blocks), offsets.reshape(count, blocks)
    )


def _nearest(rows: Array) -> tuple[npt.NDArray[np.uint8], Array, Array]:
    blocks = rows.reshape(-1, BLOCK)
    scales, offsets = _fit(blocks)
    codes = _codes(blocks, scales[:, None], offsets[:, None]).astype(np.uint8)
    return codes, scales, offsets


def _fit(blocks: Array) -> tuple[Array, Array]:
    """The scales and offsets ``[N]`` of blocks ``[N, BLOCK]``."""
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    best = np.full(len(blocks), np.inf, np.float32)
    scales, offsets = np.empty((2, len(blocks)), np.float32)
    for share in _RANGES:
        scale = np.maximum((high - low) * np.float32(share / _LARGEST), _TINY)
        offset = (high + low) / 2 - scale * np.float32(_LARGEST / 2)
        scale, offset = _least_squares(blocks, _codes(blocks, scale[:, None], offset[:, None]))
        codes = _codes(blocks, scale[:, None], offset[:, None])
        error = ((blocks - codes * scale[:, None] - offset[:, None]) ** 2).sum(axis=1)
        better = error < best
        best[better], scales[better], offsets[better] = error[better], scale[better], offset[better]
    return scales, offsets


def _least_squares(blocks: Array, codes: Array) -> tuple[Array, Array]:
    mean_code, mean = codes.mean(axis=1), blocks.mean(axis=1)
    centred = codes - mean_code[:, None]
    variance = np.maximum((centred**2).sum(axis=1), _TINY)
    scale = np.maximum((centred * blocks).sum(axis=1) / variance, _TINY)
    return scale, mean - scale * mean_code


def _codes(values: Array, scales: Array, offsets: Array) -> Array:
    codes: Array = np.clip(np.rint((values - offsets) / scales), 0, _LARGEST)
    return codes
