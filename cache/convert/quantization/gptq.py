"""Rounds weights so that the errors of a row cancel each other in what the layer really reads.

Columns are rounded one after the other. The error that a column's rounding makes in the products is
taken out of the columns that follow, as far as their inputs correlate with its own
(GPTQ, https://arxiv.org/abs/2210.17323).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.quantization.quantize import channel_scales

# A share of the mean square of the inputs. A short text says little about how channels correlate:
# 0.01 was worse.
_DAMPING = 0.1
GROUP = 2048  # columns that are corrected for each other: the work grows with the cube
_BLOCK = 32  # columns, before the others are corrected by a product of matrices

Array = npt.NDArray[np.float32]


def gptq_channels(
    rows: Array, inputs: Array, *, group: int = GROUP
) -> tuple[npt.NDArray[np.int8], Array]:
    """As ``quantize_channels``, with the errors made small for ``inputs [tokens, K]``.

    ``rows`` is ``[N, K]``. Returns codes ``[N, K]`` of -127 to 127 and scales ``[N]``. Each
    ``group`` of columns is corrected by itself.
    """
    scales = channel_scales(rows)
    codes = np.empty(rows.shape, np.int8)
    for start in range(0, rows.shape[1], group):
        columns = np.s_[:, start : start + group]
        codes[columns] = _round_columns(rows[columns], scales, _cholesky(inputs[columns]))
    return codes, scales


def _round_columns(rows: Array, scales: Array, cholesky: Array) -> npt.NDArray[np.int8]:
    remaining = rows.T.copy()  # [K, N]: what is still to be rounded, corrected
    codes = np.empty(remaining.shape, np.int8)
    for start in range(0, len(remaining), _BLOCK):
        stop = min(start + _BLOCK, len(remaining))
        errors = np.empty_like(remaining[start:stop])
        for column in range(start, stop):
            before = cholesky[start:column, column]
            values = remaining[column] - before @ errors[: column - start]
            rounded = np.rint(values / scales).clip(-127, 127)
            codes[column] = rounded
            errors[column - start] = (values - rounded * scales) / cholesky[column, column]
        remaining[stop:] -= cholesky[start:stop, stop:].T @ errors
    return codes.T


def _cholesky(inputs: Array) -> Array:
    """The upper Cholesky factor ``[K, K]`` of the inverse Hessian of ``inputs [tokens, K]``.

    A row says how a column's error is distributed over the columns behind it.
    """
    hessian = (inputs.T @ inputs).astype(np.float64)
    mean_square = np.trace(hessian) / len(hessian) or 1.0
    hessian[np.diag_indices_from(hessian)] += _DAMPING * mean_square
    # With the order of the columns reversed, the Hessian's own factor is the inverse of this one.
    reversed_factor = np.linalg.cholesky(hessian[::-1, ::-1])
    factor: Array = _invert_lower(reversed_factor)[::-1, ::-1].astype(np.float32)
    return factor


def _invert_lower(lower: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The inverse of a lower triangular matrix. NumPy has only that of any matrix: 6 x the work."""
    if len(lower) <= _BLOCK:
        return np.linalg.inv(lower)
    half = len(lower) // 2
    inverse = np.zeros_like(lower)
    inverse[:half, :half] = _invert_lower(lower[:half, :half])
    inverse[half:, half:] = _invert_lower(lower[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ (lower[half:, :half] @ inverse[:half, :half])
    return inverse
