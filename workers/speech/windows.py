"""Where a recording is cut into windows that the model can hear. Pure.

The cut is at the latest of the quietest moments of the window's last third. So it seldom goes
through a word, and there are few windows.
"""

from __future__ import annotations

import numpy as np

from cupola.workers.speech.log_mel import FRAMES_A_SECOND, Floats

WINDOW = 30 * FRAMES_A_SECOND  # frames that the model hears at once
_SEARCHED = 10 * FRAMES_A_SECOND  # before the end of a window
_SMOOTHED = 30  # frames over which loudness is averaged
_AS_QUIET = 0.1  # in the spectrogram's units: 4 dB


def cut_at_silence(mel: Floats) -> list[range]:
    """The frames of each window, in order and without gaps."""
    count = mel.shape[1]
    windows, start = [], 0
    while count - start > WINDOW:
        searched = mel[:, start + WINDOW - _SEARCHED : start + WINDOW].mean(axis=0)
        smooth = np.convolve(searched, np.ones(_SMOOTHED) / _SMOOTHED, "valid")
        quiet = np.flatnonzero(smooth <= smooth.min() + _AS_QUIET)
        # The middle of the last silence.
        last = quiet[np.flatnonzero(np.diff(quiet, prepend=-2) > 1)[-1] :]
        quietest = int(last[len(last) // 2]) + _SMOOTHED // 2
        stop = start + WINDOW - _SEARCHED + quietest
        windows.append(range(start, stop))
        start = stop
    return [*windows, range(start, count)]


def features(mel: Floats, window: range) -> Floats:
    """``[1, bands, 3000]``: a window for the encoder, filled up with zeros."""
    found = np.zeros((1, mel.shape[0], WINDOW), np.float32)
    found[0, :, : len(window)] = mel[:, window.start : window.stop]
    return found
