"""Turns a decoder's residual stream, so that no channel of it is louder than the others.

RMSNorm divides a token by its length, which no rotation changes. So with a norm's own weights
moved into the projections that read it, the stream can be multiplied by any orthogonal matrix: the
embedding and what writes to the stream by it, what reads from the stream by its inverse, and the
model computes what it did (QuaRot, https://arxiv.org/abs/2404.00456). A few channels a hundred
times as loud as the rest then become a little noise in all of them, and one scale for all the
channels of a token is enough.

The matrix is the discrete Hartley transform behind random signs: it spreads a single loud channel
evenly, exists in every size, and is a Fourier transform to compute.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SEED = 0

Array = npt.NDArray[np.float32]


def turned(values: Array) -> Array:
    """``[..., N]`` times the orthogonal matrix of size N."""
    size = values.shape[-1]
    signs = np.random.default_rng(_SEED).choice(np.array([-1, 1], np.float32), size)
    waves = np.fft.fft(values * signs)
    found: Array = ((waves.real - waves.imag) / np.sqrt(size)).astype(np.float32)
    return found
