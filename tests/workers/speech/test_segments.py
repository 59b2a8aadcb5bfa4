"""From tokens to segments, and from loudness to windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.speech.segments import Piece, split
from cupola.workers.speech.windows import WINDOW, cut_at_silence, features
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


@given(st.integers(1, 20_000), st.integers(0, 10**6))
def test_windows_cover_a_recording_and_fit_the_model(frames: int, seed: int) -> None:
    mel = np.random.default_rng(seed).standard_normal((1, frames)).astype(np.float32)
    windows = cut_at_silence(mel)
    assert [frame for window in windows for frame in (window.start, window.stop)] == [
        0,
        *(stop for window in windows[:-1] for stop in (window.stop, window.stop)),
        frames,
    ]
    assert all(0 < len(window) <= WINDOW for window in windows)
    assert all(len(window) >= 2 * WINDOW // 3 for window in windows[:-1])


def test_a_cut_goes_through_silence() -> None:
    mel = np.ones((80, 5000), np.float32)
    mel[:, 2300:2400] = -1
    first, _ = cut_at_silence(mel)
    assert 2300 <= first.stop <= 2400
    heard = features(mel, first)
    assert heard.shape == (1, 80, WINDOW) and not heard[:, :, first.stop :].any()
