"""From tokens to segments, and from loudness to windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.tasks import Transcribe
from cupola.workers.speech.recording import Result, Sound, SpeechRequest, Window
from cupola.workers.speech.segments import Piece, split
from cupola.workers.speech.windows import WINDOW, features, stretches
from tests.workers.speech.few_tokens import TOKENS


def at(seconds: float) -> int:
    return TOKENS.first_time + round(seconds / 0.02)


@pytest.mark.parametrize(
    ("chosen", "pieces", "heard"),
    [
        ([], [], 10.0),
        ([at(0), 5, 6, at(4)], [Piece(0, 4, (5, 6))], 10.0),
        ([at(0), 5, at(4), at(4)], [Piece(0, 4, (5,))], 4.0),
        (
            [at(0), 5, at(2), at(2.5), 6, at(4), at(4), 7],
            [Piece(0, 2, (5,)), Piece(2.5, 4, (6,))],
            4.0,
        ),
        ([at(0.5), 5, 6], [Piece(0.5, 10, (5, 6))], 10.0),
        ([at(0), 5, at(28)], [Piece(0, 10, (5,))], 10.0),
        ([at(0)], [], 10.0),
    ],
)
def test_pairs_of_times_make_segments(chosen: list[int], pieces: list[Piece], heard: float) -> None:
    found = split(chosen, 10.0, TOKENS)
    assert found.pieces == pieces
    assert found.heard == pytest.approx(heard)


@given(st.integers(1, 60_000), st.integers(0, 10**6), st.integers(1, 8))
def test_stretches_cover_a_recording_and_have_two_windows(
    frames: int, seed: int, most: int
) -> None:
    mel = np.random.default_rng(seed).standard_normal((1, frames)).astype(np.float32)
    cut = stretches(mel, most)
    assert [frame for each in cut for frame in (each.start, each.stop)] == [
        0,
        *(stop for each in cut[:-1] for stop in (each.stop, each.stop)),
        frames,
    ]
    assert 1 <= len(cut) <= most
    assert len(cut) == 1 or all(len(each) >= 2 * WINDOW - 1000 for each in cut)


def test_a_cut_goes_through_silence() -> None:
    mel = np.ones((80, 12_400), np.float32)
    mel[:, 6000:6100] = -1
    first, _ = stretches(mel, 4)
    assert 6000 <= first.stop <= 6100


def test_a_short_window_is_filled_up_with_zeros() -> None:
    heard = features(np.ones((80, 5000), np.float32), range(10, 2400))
    assert heard.shape == (1, 80, WINDOW)
    assert heard[:, :, :2390].all() and not heard[:, :, 2390:].any()


def request(seconds: int, *, recording_parts: int = 4, condition: bool = False) -> SpeechRequest:
    mel = np.random.default_rng(0).standard_normal((1, 100 * seconds)).astype(np.float32)
    work = Transcribe(b"", condition=condition)
    return SpeechRequest("a", work, Sound(mel, seconds), [], recording_parts=recording_parts)


def test_what_a_window_has_not_heard_is_heard_with_what_follows() -> None:
    asked = request(70)
    heard = []
    while asked.waiting:
        window = asked.waiting.popleft()
        heard.append((window.start, window.seconds))
        asked.finish(window, Result(), min(26.0, window.seconds), forget=False)
    assert heard == [(0, 30), (26, 30), (52, 18)]
    assert len(asked.take()) == 3 and asked.is_done


def test_parts_wait_side_by_side_where_they_do_not_depend_on_each_other() -> None:
    assert len(request(300).waiting) == 4
    assert len(request(300, recording_parts=2).waiting) == 2
    assert len(request(300, recording_parts=1).waiting) == 1
    assert len(request(300, condition=True).waiting) == 1
    assert len(request(110).waiting) == 1


def test_a_recording_has_the_same_draws_again_unless_its_temperature_asks_for_others() -> None:
    sound = Sound(np.ones((1, 4000), np.float32), 40.0)

    def drawn(window: int = 0, **options: Any) -> float:
        request = SpeechRequest("r", Transcribe(b"", **options), sound, [])
        return request.random(Window(0, range(window, 4000))).random()

    assert drawn() == drawn() != drawn(3000)
    assert drawn(seed=7) == drawn(seed=7, temperature=1.0) != drawn(seed=-7)
    assert drawn(temperature=1.0) != drawn(temperature=1.0)
