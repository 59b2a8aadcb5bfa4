"""From the tokens of a window to segments of text with their times. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cupola.workers.speech.speech_tokens import SECONDS_A_STEP, SpeechTokens


class Piece(NamedTuple):
    """A segment of a window. Times are in seconds from the window's beginning."""

    start: float
    end: float
    tokens: tuple[int, ...]  # text only


class Split(NamedTuple):
    pieces: list[Piece]
    heard: float  # seconds of the window after which the next one may begin
    is_over: bool = False  # no speech follows in the window


def split(chosen: Sequence[int], length: float, tokens: SpeechTokens) -> Split:
    """Cuts ``chosen``, without the end, at pairs of times. ``length``: seconds of the window.

    Text behind the last pair has no end yet: the next window hears it again.
    """
    first = tokens.first_time
    pieces: list[Piece] = []
    start, text, ended = 0.0, list[int](), 0.0
    for token in chosen:
        if token < first:
            text.append(token)
            continue
        time = min((token - first) * SECONDS_A_STEP, length)
        if text:
            pieces.append(Piece(start, max(start, time), tuple(text)))
            text, ended = [], time
        start = time
    # A single time at the end says that no speech follows.
    single = len(chosen) > 1 and chosen[-1] >= first and chosen[-2] < first
    if not pieces and text:
        pieces.append(Piece(start, length, tuple(text)))
        ended = length
    return Split(pieces, length if single or not pieces else ended, single)
