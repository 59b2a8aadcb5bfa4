"""The words of a window, with their times. Pure.

Cutting, punctuation and the limits of long words are those of Whisper's reference, ``timing.py``.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# They belong to the word behind them, or before them.
_BEFORE = "\"'“¿([{-"
_BEHIND = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001
_SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001
_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})  # languages without spaces
_LONGEST_MEDIAN = 0.7  # seconds
_PAUSE = 4  # times the median: a word behind such a pause may be heard too long
_DIFFERENT = 0.5  # seconds between a segment's time and its word's


@dataclass(slots=True)
class TimedWord:
    """Times are in seconds from the window's beginning."""

    text: str
    tokens: list[int]
    start: float
    end: float
    probability: float


def split_words(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str], language: str
) -> list[tuple[str, list[int]]]:
    """The words of a text and their tokens. Punctuation is a word of its own."""
    words: list[tuple[str, list[int]]] = []
    for text, part in _characters(tokens, decode):
        begins = text.startswith(" ") or text.strip() in string.punctuation
        if language in _UNSPACED or begins or not words:
            words.append((text, part))
        else:
            before, known = words[-1]
            words[-1] = (before + text, known + part)
    return words


def _characters(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[tuple[str, list[int]]]:
    """The shortest runs of tokens that are whole characters."""
    whole = decode(tokens)
    found: list[tuple[str, list[int]]] = []
    current: list[int] = []
    offset = 0
    for token in tokens:
        current.append(token)
        text = decode(current)
        broken = text.find("\ufffd")
        # The text itself may have a character that cannot be decoded.
        if broken < 0 or whole[offset + broken : offset + broken + 1] == "\ufffd":
            found.append((text, current))
            offset += len(text)
            current = []
    if current and found:
        found[-1][1].extend(current)
    return found


def timed_words(
    words: Sequence[tuple[str, list[int]]],
    times: Sequence[float] | NDArray[np.float64],
    probabilities: Sequence[float],
) -> list[TimedWord]:
    """``times``: when each token begins, and when the last one ends."""
    found, start = [], 0
    for text, tokens in words:
        end = start + len(tokens)
        probability = float(np.mean(probabilities[start:end]))
        found.append(
            TimedWord(text, list(tokens), float(times[start]), float(times[end]), probability)
        )
        start = end
    return found


@dataclass(slots=True)
class SegmentTimes:
    """Of a segment and its words. Times are in seconds from the window's beginning."""

    start: float
    end: float
    tokens: int
    words: list[TimedWord]


def place(words: list[TimedWord], segments: Sequence[SegmentTimes], spoken_until: float) -> None:
    """Gives each of the segments its words, and both their final times.

    ``spoken_until``: when the last word before this window ended, by the window's time.
    """
    spans = [word.end - word.start for word in words if word.end > word.start]
    median = min(_LONGEST_MEDIAN, float(np.median(spans))) if spans else 0.0
    if spans:
        _shorten_at_sentences(words, 2 * median)
    left = _with_punctuation(words)
    for segment in segments:
        taken = 0
        while left and taken < segment.tokens:
            word = left.pop(0)
            taken += len(word.tokens)
            segment.words.append(word)
        if segment.words:
            _limit(segment, median, spoken_until)
            spoken_until = segment.end


def _shorten_at_sentences(words: list[TimedWord], longest: float) -> None:
    for before, word in itertools.pairwise(words):
        if word.end - word.start > longest:
            if word.text in _SENTENCE_ENDS:
                word.end = word.start + longest
            elif before.text in _SENTENCE_ENDS:
                word.start = word.end - longest


def _with_punctuation(words: list[TimedWord]) -> list[TimedWord]:
    """The words, with the punctuation that stands beside them. It has no time of its own."""
    joined: list[TimedWord] = []
    for word in reversed(words):
        mark = word.text.startswith(" ") and word.text.strip() in _BEFORE
        if joined and mark:
            joined[-1].text = word.text + joined[-1].text
            joined[-1].tokens = word.tokens + joined[-1].tokens
        else:
            joined.append(word)
    found: list[TimedWord] = []
    for word in reversed(joined):
        if found and not found[-1].text.endswith(" ") and word.text in _BEHIND:
            found[-1].text += word.text
            found[-1].tokens = found[-1].tokens + word.tokens
        else:
            found.append(word)
    return found


def _limit(segment: SegmentTimes, median: float, spoken_until: float) -> None:
    """The first words behind a pause and the last one are often heard too long."""
    first, last, longest = segment.words[0], segment.words[-1], 2 * median
    second = segment.words[1] if len(segment.words) > 1 else None
    is_long = first.end - first.start > longest
    if first.end - spoken_until > _PAUSE * median and (
        is_long or (second is not None and second.end - first.start > 2 * longest)
    ):
        if second is not None and second.end - second.start > longest:
            first.end = second.start = max(second.end / 2, second.end - longest)
        first.start = max(0.0, first.end - longest)
    if segment.start < first.end and segment.start - _DIFFERENT > first.start:
        first.start = max(0.0, min(first.end - median, segment.start))
    else:
        segment.start = first.start
    if segment.end > last.start and segment.end + _DIFFERENT < last.end:
        last.end = max(last.start + median, segment.end)
    else:
        segment.end = last.end
