"""Turns a decoder's residual stream, so that no channel of it is louder than the others.

RMSNorm divides a token by its length, which no rotation changes. So with a norm's own weights
moved into the projections that read it, the stream can be multiplied by any orthogonal matrix: the
embedding and what writes to the stream by it, what reads from the stream by its inverse, and the
model computes what it did (QuaRot, https://arxiv.org/abs/2404.00456). A few channels a hundred
times as loud as the rest then become a little noise in all of them, and one scale for all the
channels of a token is enough.

The matrix is Hadamard's, behind random signs: it spreads a single loud channel over all others, to
the same magnitude. There is none for odd sizes: of a size that is odd times a power of two, the
discrete Hartley transform takes the odd part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SEED = 1

Array = npt.NDArray[np.float32]


def turned(values: Array, size: int) -> Array:
    """``[..., N]``, each ``size`` channels of it times the orthogonal matrix of that size."""
    signs = np.random.default_rng(_SEED).choice(np.array([-1, 1], np.float32), size)
    power = size & -size
    found = (values.reshape(-1, size) * signs).reshape(-1, power, size // power)
    if power < size:
        waves = np.fft.fft(found)
        found = waves.real - waves.imag
    half = 1
    while half < power:
        pairs = found.reshape(len(found), -1, 2, half * size // power)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        found = np.stack([first + second, first - second], axis=2)
        half *= 2
    result: Array = (found / np.sqrt(size)).astype(np.float32).reshape(values.shape)
    return result
