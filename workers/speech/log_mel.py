"""The spectrogram that Whisper hears: the logarithm of mel bands, 100 frames a second. Pure.

The definition is that of Whisper's reference: https://github.com/openai/whisper, ``audio.py``. The
bands are those of Slaney's Auditory Toolbox, as librosa computes them.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # samples a second
HOP = 160  # samples from frame to frame
FRAMES_A_SECOND = RATE // HOP
_WIDTH = 400  # samples of a frame
_BLOCK = 4096  # frames that are transformed at once
_QUIET = 1e-10  # the least power
_RANGE = 8.0  # in powers of ten, below the loudest band

Floats = NDArray[np.float32]


def log_mel(audio: Floats, bands: int) -> Floats:
    """``[bands, frames]`` of samples of ``RATE``. The last frame begins before the audio's end."""
    frames = len(audio) // HOP
    if not frames:
        return np.zeros((bands, 0), np.float32)
    # A frame lies around its time, so the audio is mirrored at its beginning and end. Whisper's
    # authors first add silence at the end.
    padded = np.pad(audio, (0, HOP))
    half = _WIDTH // 2
    mirrored = len(padded) > half
    padded = np.pad(padded, half, mode="reflect") if mirrored else np.pad(padded, half)
    cut = np.lib.stride_tricks.sliding_window_view(padded, _WIDTH)[::HOP]
    weights, window = mel_bands(bands), np.hanning(_WIDTH + 1)[:-1].astype(np.float32)
    found = np.empty((frames, bands), np.float32)
    for start in range(0, frames, _BLOCK):
        stop = min(frames, start + _BLOCK)
        spectrum = np.fft.rfft(cut[start:stop] * window)
        power = np.square(np.abs(spectrum)).astype(np.float32)
        found[start:stop] = power @ weights.T
    logs = np.log10(np.maximum(found, _QUIET))
    logs = (np.maximum(logs, logs.max() - _RANGE) + 4) / 4
    return np.ascontiguousarray(logs.T, np.float32)


@functools.cache
def mel_bands(count: int) -> Floats:
    """The weights ``[bands, 201]`` with which the powers of frequencies make up a band."""
    frequencies = np.linspace(0, RATE / 2, _WIDTH // 2 + 1)
    corners = _hertz(np.linspace(0, _mel(RATE / 2), count + 2))
    distances = corners[:, None] - frequencies[None, :]
    rising = -distances[:-2] / np.diff(corners)[:-1, None]
    falling = distances[2:] / np.diff(corners)[1:, None]
    weights = np.maximum(0, np.minimum(rising, falling))
    weights *= (2 / (corners[2:] - corners[:-2]))[:, None]  # all bands have the same area
    return weights.astype(np.float32)


# Slaney's scale: linear below 1,000 Hz, logarithmic above.
_LINEAR = 200 / 3  # Hz a mel
_EDGE_HERTZ = 1000.0
_EDGE_MEL = _EDGE_HERTZ / _LINEAR
_STEP = np.log(6.4) / 27


def _mel(hertz: float) -> float:
    return float(_EDGE_MEL + np.log(hertz / _EDGE_HERTZ) / _STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _EDGE_HERTZ * np.exp(_STEP * (mels - _EDGE_MEL))
    return np.where(mels >= _EDGE_MEL, logarithmic, _LINEAR * mels)
