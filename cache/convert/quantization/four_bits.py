"""Weights of four bits as MatMulNBits reads them: ``(code - zero point) * scale``.

The zero point of a block is an integer of 0 to 15. Only so does the operator take its fast kernels.
GGUF's blocks with a minimum have ``scale * code + offset``, and ``-offset / scale`` is no integer.
What rounding it leaves is one number a block, the remainder, which is added to each weight of the
block. So the product lacks ``sum(remainder * sum of the block's inputs)``. The layer therefore also
reads the mean of each block's inputs, and has a column for it: ``block * remainder``. Remainders
are at most half a step of a weight, so four bits are enough for them as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_blocks import CodedRows

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]

_LARGEST = 15


@dataclass(frozen=True, slots=True)
class FourBitRows:
    """Rows in the layout of MatMulNBits."""

    codes: Bytes  # [rows, blocks, block / 2], two codes a byte, the first in the low half
    scales: Array  # [rows, blocks]
    zero_points: Bytes  # [rows, blocks / 2 rounded up], packed likewise


def symmetric_rows(rows: CodedRows) -> FourBitRows:
    """Rows whose zero points are all in the middle, where the operator has them by default."""
    count, blocks = rows.scales.shape
    return FourBitRows(_pack(rows.codes, blocks), rows.scales, np.empty((count, 0), np.uint8))


def rows_with_means(rows: CodedRows) -> FourBitRows:
    """Rows with columns behind them for the means of the blocks' inputs, ``[K / block]``."""
    zero_points, remainders = _split_offsets(rows)
    block = rows.codes.shape[1] // rows.scales.shape[1]
    spare = -remainders.shape[1] % block
    means = np.pad(remainders * np.float32(block), ((0, 0), (0, spare)))
    of_means = round_blocks(means.reshape(len(means), -1, block))
    codes = np.concatenate([rows.codes, of_means[0].reshape(len(means), -1)], axis=1)
    scales = np.concatenate([rows.scales, of_means[1]], axis=1)
    zero_points = np.concatenate([zero_points, of_means[2]], axis=1)
    return FourBitRows(_pack(codes, scales.shape[1]), scales, _pack_pairs(zero_points))


def round_blocks(blocks: Array) -> tuple[Bytes, Array, Bytes]:
    """Rounds ``[rows, blocks, block]``, each block from its lowest to its highest value.

    Returns codes of the same shape, scales ``[rows, blocks]`` and zero points ``[rows, blocks]``.
    """
    low = np.minimum(blocks.min(axis=-1), np.float32(0))
    high = np.maximum(blocks.max(axis=-1), np.float32(0))
    scales = ((high - low) / np.float32(_LARGEST)).astype(np.float32)
    steps = np.where(scales > 0, scales, np.float32(1))
    zero_points = np.rint(-low / steps)
    codes = np.clip(np.rint(blocks / steps[..., None]) + zero_points[..., None], 0, _LARGEST)
    return codes.astype(np.uint8), scales, zero_points.astype(np.uint8)


def _split_offsets(rows: CodedRows) -> tuple[Bytes, Array]:
    """The offsets as integer zero points and remainders, both ``[rows, K / block]``."""
    steps = np.where(rows.scales == 0, np.float32(1), rows.scales)
    zero_points = np.clip(np.rint(-rows.offsets / steps), 0, _LARGEST)
    remainders = (zero_points * rows.scales + rows.offsets).astype(np.float32)
    return zero_points.astype(np.uint8), remainders


def _pack(codes: Bytes, blocks: int) -> Bytes:
    return _pack_pairs(codes).reshape(len(codes), blocks, -1)


def _pack_pairs(values: Bytes) -> Bytes:
    """``[rows, n]`` of 0 to 15 to ``[rows, n / 2]``, rounded up."""
    if values.shape[1] % 2:
        values = np.pad(values, ((0, 0), (0, 1)))
    packed: Bytes = values[:, 0::2] | values[:, 1::2] << np.uint8(4)
    return packed
