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

import numpy as np
import numpy.typing as npt

_SEED = 1

Array = npt.NDArray[np.float32]


def rotate(values: Array, size: int) -> Array:
    """Multiplies each group of ``size`` channels by the orthogonal matrix ``[size, size]``.

    ``values`` is ``[..., N]`` and N is a multiple of ``size``. Returns float32 ``[..., N]``.
    """
    signs = np.random.default_rng(_SEED).choice(np.array([-1, 1], np.float32), size)
    power = size & -size
    rotated = (values.reshape(-1, size) * signs).reshape(-1, power, size // power)
    if power < size:
        waves = np.fft.fft(rotated)
        rotated = waves.real - waves.imag
    half = 1
    while half < power:
        pairs = rotated.reshape(len(rotated), -1, 2, half * size // power)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        rotated = np.stack([first + second, first - second], axis=2)
        half *= 2
    result: Array = (rotated / np.sqrt(size)).astype(np.float32).reshape(values.shape)
    return result
