"""What nobody can hear is in no window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.tasks import Transcribe
from cupola.workers.speech.log_mel import RATE, Floats, log_mel
from cupola.workers.speech.recording import Result, Sound, SpeechRequest
from cupola.workers.speech.windows import Silence


def noise(seconds: float, loudness: float) -> Floats:
    random = np.random.default_rng(0)
    return (loudness * random.standard_normal(round(seconds * RATE))).astype(np.float32)


def request(*pieces: Floats, parts: int = 1) -> SpeechRequest:
    audio = np.concatenate(pieces)
    sound = Sound(log_mel(audio, 80), len(audio) / RATE)
    return SpeechRequest("r", Transcribe(b""), sound, [], recording_parts=parts)


SPOKEN = noise(5, 0.1)


def test_a_recording_begins_shortly_before_its_first_sound() -> None:
    (window,) = request(noise(10, 0.0), SPOKEN).waiting
    assert 9 <= window.start < 10 and window.frames.stop == 1500


def test_a_pause_is_heard() -> None:
    (window,) = request(noise(1.5, 0.0), SPOKEN).waiting
    assert window.start == 0


def test_the_next_window_begins_behind_a_long_silence() -> None:
    asked = request(SPOKEN, noise(40, 0.0), SPOKEN)
    asked.finish(asked.waiting.popleft(), Result(), 5.0, forget=False)
    (window,) = asked.waiting
    assert 44 <= window.start < 45
    asked.finish(asked.waiting.popleft(), Result(), 6.0, forget=False)
    asked.take()
    assert asked.is_done


def test_silence_at_the_end_has_no_window() -> None:
    asked = request(SPOKEN, noise(60, 0.0))
    asked.finish(asked.waiting.popleft(), Result(), 5.2, forget=False)
    assert not asked.waiting
    asked.take()
    assert asked.is_done


def test_a_recording_of_silence_has_no_window() -> None:
    for loudness in (0.0, 2e-5):  # the last bit of 16
        asked = request(noise(130, loudness), parts=2)
        assert not asked.waiting
        assert asked.take() == [] and asked.is_done


def test_speech_that_is_quieter_than_the_rest_is_heard() -> None:
    """By 40 dB, with a pause of a room before it."""
    asked = request(SPOKEN, noise(10, 1e-3), SPOKEN * np.float32(0.01))
    asked.finish(asked.waiting.popleft(), Result(), 5.0, forget=False)
    assert [window.start for window in asked.waiting] == [5.0]


@given(st.lists(st.booleans(), min_size=1, max_size=2000), st.data())
def test_no_sound_is_left_out(sounds: list[bool], data: st.DataObject) -> None:
    mel = np.where(np.array(sounds), 1.0, -1.5).astype(np.float32)[None]
    start = data.draw(st.integers(0, len(sounds) - 1))
    stop = data.draw(st.integers(start + 1, len(sounds)))
    begin = Silence(mel).end(start, stop)
    assert start <= begin <= stop
    assert not any(sounds[start:begin])
    assert begin == stop or any(sounds[begin:stop])
