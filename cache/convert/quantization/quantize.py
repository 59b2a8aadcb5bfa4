"""Weight quantisation as ONNX Runtime's operators read it.

For MatMulNBits and GatherBlockQuantized each row is cut into blocks of at least 32 values. A block
has one float32 scale and a fixed zero point in the middle of the range, so
``w ≈ (q - 128) * scale``. Blocks of GGUF's Q8_0 have this form and lose nothing. Weights of four
bits are in ``four_bits``. For MatMulIntegerToFloat a whole row has one scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 32
_BLOCKS = (128, 64, BLOCK)

_TINY = np.float32(1e-30)  # the scale of a block of zeros: anything but 0 will do


def block_size(columns: int, most: int) -> int:
    """The number of values in a block of a row of ``columns`` values, at most ``most``.

    0: no block size divides the row. Large blocks take less memory and are up to a third faster.
    Small ones have the size of GGUF's.
    """
    return next((size for size in _BLOCKS if size <= most and columns % size == 0), 0)


def quantize_rows(
    rows: npt.NDArray[np.float32], block: int = BLOCK
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Rounds weights ``[N, K]`` to bytes ``[N, K/block, block]``.

    Also returns the scales ``[N, K/block]``. K is a multiple of ``block``.
    """
    count, width = rows.shape
    blocks = rows.reshape(count, width // block, block)
    # -127..127, as Q8_0 has it: the largest value is exact, and 0 stays 0.
    scales = np.maximum(np.abs(blocks).max(axis=-1) / np.float32(127), _TINY)
    codes = np.rint(blocks / scales[..., None]) + np.float32(128)
    return codes.astype(np.uint8), scales


def quantize_channels(
    rows: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Rounds weights ``[N, K]`` to codes ``[N, K]`` of -127 to 127, with scales ``[N]``."""
    scales = channel_scales(rows)
    return np.rint(rows / scales[:, None]).astype(np.int8), scales


def channel_scales(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The scales ``[N]`` with which the largest magnitude of each row becomes 127."""
    scales: npt.NDArray[np.float32] = np.maximum(np.abs(rows).max(axis=1) / np.float32(127), _TINY)
    return scales
