"""Where a recording is cut: into stretches that are heard side by side, and into windows. Pure.

What nobody can hear is in no window: of silence a model makes words that were not said.

Stretches end at the latest of the quietest moments nearby, so a cut seldom goes through a word.
Windows within a stretch are as long as the model can hear, as in Whisper's reference: it says where
the next one begins.
"""

from __future__ import annotations

import itertools

import numpy as np

from cupola.workers.speech.log_mel import FRAMES_A_SECOND, Floats

WINDOW = 30 * FRAMES_A_SECOND  # frames that the model hears at once
_STRETCH = 2 * WINDOW  # frames of a stretch, about, at least
_SEARCHED = 10 * FRAMES_A_SECOND  # for the end of a stretch
_SMOOTHED = 30  # frames over which loudness is averaged
_AS_QUIET = 0.1  # in the spectrogram's units: 4 dB
# In the same units. Speech in a room is seldom more than 55 dB below its loudest, and its pauses
# are 60 dB below. Samples of 16 bits that say nothing are below the least.
_SILENT = 6.5 / 4  # below the loudest: 65 dB
_LEAST = (-6.0 + 4) / 4  # of any recording
_SILENCE = 2 * FRAMES_A_SECOND  # frames; shorter ones are pauses
_LEAD = FRAMES_A_SECOND // 2  # frames of it that are heard


def stretches(mel: Floats, most: int) -> list[range]:
    """The frames of each stretch, in order and without gaps.

    The model often ends before a stretch does, and hears the rest in a window of its own. So a
    stretch has two windows or more.
    """
    frames = mel.shape[1]
    count = max(1, min(most, frames // _STRETCH))
    places = [frames * number // count for number in range(1, count)]
    cuts = [0, *(_quiet_moment(mel, place) for place in places), frames]
    return [range(start, stop) for start, stop in itertools.pairwise(cuts)]


def _quiet_moment(mel: Floats, place: int) -> int:
    """The middle of the last silence around a frame."""
    first = place - _SEARCHED // 2
    loudness = mel[:, first : first + _SEARCHED].mean(axis=0)
    smooth = np.convolve(loudness, np.ones(_SMOOTHED) / _SMOOTHED, "valid")
    quiet = np.flatnonzero(smooth <= smooth.min() + _AS_QUIET)
    last = quiet[np.flatnonzero(np.diff(quiet, prepend=-2) > 1)[-1] :]
    return first + int(last[len(last) // 2]) + _SMOOTHED // 2


class Silence:
    """Where nothing can be heard."""

    def __init__(self, mel: Floats) -> None:
        loudest = mel.max(axis=0, initial=-np.inf)
        floor = max(_LEAST, float(loudest.max(initial=-np.inf)) - _SILENT)
        self._sounds = np.flatnonzero(loudest > floor)

    def end(self, start: int, stop: int, rest: int = 0) -> int:
        """Where the next window begins: at ``start``, or shortly before a long silence ends.

        ``stop``: where a stretch ends. It is returned if nothing can be heard before.
        ``rest``: frames that may still have the end of what was heard before.
        """
        index = np.searchsorted(self._sounds, start + rest)
        sound = int(self._sounds[index]) if index < len(self._sounds) else stop
        if sound >= stop:
            return stop
        return start if sound - start - rest < _SILENCE else sound - _LEAD


def features(mel: Floats, window: range) -> Floats:
    """``[1, bands, 3000]``: a window for the encoder, filled up with zeros."""
    found = np.zeros((1, mel.shape[0], WINDOW), np.float32)
    found[0, :, : len(window)] = mel[:, window.start : window.stop]
    return found
