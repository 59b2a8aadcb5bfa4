"""Spectrograms against their definition, and against those of faster-whisper."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from cupola.workers.speech.log_mel import HOP, RATE, log_mel, mel_bands
from tests.workers.speech.recorded import RECORDED, SPEECH


@pytest.mark.parametrize("bands", [80, 128])
def test_a_frame_is_what_the_definition_says(bands: int) -> None:
    audio = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    frame, samples = 30, np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * samples / 400)
    cut = audio[frame * HOP - 200 : frame * HOP + 200] * window
    waves = np.exp(-2j * np.pi * np.outer(np.arange(201), samples) / 400)
    power = np.abs(waves @ cut) ** 2
    expected = np.log10(mel_bands(bands) @ power)
    found = log_mel(audio, bands)[:, frame] * 4 - 4
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("bands", [80, 128])
def test_bands_have_the_same_area_and_rising_centres(bands: int) -> None:
    weights = mel_bands(bands)
    centres = weights.argmax(axis=1)
    assert (np.diff(centres) >= 0).all() and centres[-1] < 201
    assert (weights >= 0).all()
    wide = weights[-20:].sum(axis=1) * RATE / 400
    np.testing.assert_allclose(wide, 1, atol=0.05)


def test_the_spectrogram_is_that_of_faster_whisper() -> None:
    audio, _ = soundfile.read(io.BytesIO(SPEECH.read_bytes()), dtype="float32")
    found = log_mel(audio, 80)
    picked = np.stack([found[::13, frame] for frame in range(0, 2470, 97)])
    np.testing.assert_allclose(picked, RECORDED.mel_every_97th_frame, atol=2e-4)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 399, 400, 4801])
def test_short_audio_has_a_frame_for_every_hundredth_of_a_second(samples: int) -> None:
    found = log_mel(np.zeros(samples, np.float32), 80)
    assert found.shape == (80, samples // HOP)
    assert np.isfinite(found).all()
