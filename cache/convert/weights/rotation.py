"""The orthogonal matrix that spreads a decoder's loud channels over all of them.

RMSNorm divides a token by its length, which no rotation changes. So once a norm's own weights are
moved into the projections that read it, the residual stream can be multiplied by any orthogonal
matrix. The embedding and the projections that write to the stream are multiplied by the matrix,
the projections that read from it by its inverse, and the model computes what it did before
(QuaRot, https://arxiv.org/abs/2404.00456). A few channels that are a hundred times as loud as the
rest become a little noise in all channels. One scale for all channels of a token is then enough.

The matrix is Hadamard's, behind random signs: it spreads a single loud channel over all others, to
the same magnitude. There is no Hadamard matrix of an odd size. For a size that is an odd number
times a power of two, the discrete Hartley transform takes the odd part.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

_SEED = 1
_INNER = 128  # channels that one product of matrices mixes, if the odd part is no larger

Array = npt.NDArray[np.float32]


def rotate(values: Array, size: int) -> Array:
    """Multiplies each group of ``size`` channels by the orthogonal matrix ``[size, size]``.

    ``values`` is ``[..., N]`` and N is a multiple of ``size``. Returns float32 ``[..., N]``.
    """
    signs = np.random.default_rng(_SEED).choice(np.array([-1, 1], np.float32), size)
    outer, inner = _factors(size)
    signed = (values.reshape(-1, size) * signs).astype(np.float32, copy=False)
    rotated = (signed.reshape(-1, len(inner)) @ inner).reshape(-1, len(outer), len(inner))
    result: Array = np.matmul(outer, rotated).reshape(values.shape)
    return result


@cache
def _factors(size: int) -> tuple[Array, Array]:
    """Two orthogonal and symmetric matrices. Their Kronecker product is that of the transforms."""
    power = size & -size
    odd = size // power
    inside = min(power, 1 << max(1, _INNER // odd).bit_length() - 1)
    angles = 2 * np.pi / odd * np.outer(np.arange(odd), np.arange(odd))
    hartley = np.cos(angles) + np.sin(angles)
    inner = np.kron(_hadamard(inside), hartley) / np.sqrt(inside * odd)
    outer = _hadamard(power // inside) / np.sqrt(power // inside)
    return outer.astype(np.float32), inner.astype(np.float32)


def _hadamard(size: int) -> npt.NDArray[np.float64]:
    """Sylvester's matrix ``[size, size]`` of ones and minus ones. ``size``: a power of two."""
    matrix: npt.NDArray[np.float64] = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix
