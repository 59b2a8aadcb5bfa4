"""Rounds weights so that the errors of a row cancel each other in what the layer really reads.

Columns are rounded one after the other, and what a column's rounding has done to the products is
taken out of the columns that are still to come, as far as their inputs go along with its own
(GPTQ, https://arxiv.org/abs/2210.17323).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.quantization.quantize import channel_scales

# Of the mean square of the inputs. A short text says little about how channels go together: 0.01
# was worse.
_DAMPING = 0.1
_TOGETHER = 2048  # columns that are corrected for each other: the work grows with the cube
_AT_ONCE = 32  # columns, before the others are corrected by a product of matrices

Array = npt.NDArray[np.float32]


def round_channels(rows: Array, inputs: Array) -> tuple[npt.NDArray[np.int8], Array]:
    """As quantize_channels, for ``inputs [tokens, K]``."""
    scales = channel_scales(rows)
    codes = np.empty(rows.shape, np.int8)
    for start in range(0, rows.shape[1], _TOGETHER):
        columns = np.s_[:, start : start + _TOGETHER]
        codes[columns] = _round_columns(rows[columns], scales, _shares(inputs[columns]))
    return codes, scales


def _round_columns(rows: Array, scales: Array, shares: Array) -> npt.NDArray[np.int8]:
    left = rows.T.copy()  # [K, N]: what is still to be rounded, corrected
    codes = np.empty(left.shape, np.int8)
    for start in range(0, len(left), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(left))
        errors = np.empty_like(left[start:stop])
        for column in range(start, stop):
            rounded = np.clip(np.rint(left[column] / scales), -127, 127)
            error = (left[column] - rounded * scales) / shares[column, column]
            left[column + 1 : stop] -= np.outer(shares[column, column + 1 : stop], error)
            codes[column], errors[column - start] = rounded, error
        left[stop:] -= shares[start:stop, stop:].T @ errors
    return codes.T


def _shares(inputs: Array) -> Array:
    """``[K, K]``, upper triangle: how a column's error is distributed over those behind it."""
    moments = (inputs.T @ inputs).astype(np.float64)
    loudness = np.trace(moments) / len(moments) or 1.0
    moments[np.diag_indices_from(moments)] += _DAMPING * loudness
    shares: Array = np.linalg.cholesky(np.linalg.inv(moments)).T.astype(np.float32)
    return shares
