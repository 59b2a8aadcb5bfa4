"""Tokens to words, and where their times are limited."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cupola.workers.speech.words import (
    SegmentTimes,
    TimedWord,
    place,
    split_words,
    timed_words,
)

PIECES = [" He", "llo", ",", " wor", "ld", "!", ' "', "Yes", '"', "日", "本"]


def decode(tokens: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in tokens)


def decode_bytes(tokens: Sequence[int]) -> str:
    """A token a byte, of "é日"."""
    whole = " é日".encode()
    return bytes(whole[token] for token in tokens).decode("utf-8", "replace")


def word(text: str, start: float, end: float) -> TimedWord:
    return TimedWord(text, [0], start, end, 0.5)


def test_words_begin_with_spaces_and_marks_stand_alone() -> None:
    found = split_words([0, 1, 2, 3, 4, 5], decode, "en")
    assert found == [(" Hello", [0, 1]), (",", [2]), (" world", [3, 4]), ("!", [5])]


def test_characters_of_a_language_without_spaces_are_words() -> None:
    assert split_words([9, 10], decode, "ja") == [("日", [9]), ("本", [10])]
    assert split_words([9, 10], decode, "en") == [("日本", [9, 10])]


def test_a_character_of_several_tokens_is_not_cut() -> None:
    assert split_words(range(6), decode_bytes, "ja") == [
        (" ", [0]),
        ("é", [1, 2]),
        ("日", [3, 4, 5]),
    ]


def test_half_a_character_at_the_end_belongs_to_the_word_before() -> None:
    found = split_words(range(5), decode_bytes, "en")
    assert [token for _, tokens in found for token in tokens] == list(range(5))


def test_a_word_lasts_until_the_next_one() -> None:
    found = timed_words([(" Hello", [0, 1]), (",", [2])], [0.0, 0.2, 0.5, 0.7], [0.5, 1.0, 0.25])
    assert [(each.start, each.end, each.probability) for each in found] == [
        (0.0, 0.5, 0.75),
        (0.5, 0.7, 0.25),
    ]


def test_marks_join_the_words_beside_them() -> None:
    segment = SegmentTimes(0, 2, 6, [])
    spoken = [(" He", 0.0, 0.4), (",", 0.4, 0.5), (' "', 0.5, 0.6), ("Yes", 0.6, 1)]
    spoken += [(".", 1, 1), ('"', 1, 1)]
    place([word(*each) for each in spoken], [segment], 0.0)
    assert [each.text for each in segment.words] == [" He,", ' "Yes."']
    assert [(each.start, each.end) for each in segment.words] == [(0.0, 0.4), (0.6, 1)]


def test_each_segment_gets_its_words_and_their_times() -> None:
    words = [word(" a", 0.1, 0.3), word(" b", 0.3, 0.6), word(" c", 1.0, 1.4)]
    one, two = SegmentTimes(0, 0.8, 2, []), SegmentTimes(0.8, 1.5, 1, [])
    place(words, [one, two], 0.0)
    assert [[each.text for each in segment.words] for segment in (one, two)] == [
        [" a", " b"],
        [" c"],
    ]
    assert (one.start, one.end, two.start, two.end) == (0.1, 0.6, 1.0, 1.4)


@pytest.mark.parametrize("words", [[], [word(" a", 1.0, 1.0)]])
def test_words_without_length_and_no_words_are_no_fault(words: list[TimedWord]) -> None:
    segment = SegmentTimes(0.5, 2, 1, [])
    place(words, [segment], 0.0)
    assert len(segment.words) == len(words)


def test_a_word_behind_a_pause_is_no_longer_than_twice_the_median() -> None:
    words = [word(" a", 0.0, 9.0), word(" b", 9.0, 9.3), word(" c", 9.3, 9.6)]
    segment = SegmentTimes(8.8, 9.6, 3, [])
    place(words, [segment], 0.0)
    assert segment.words[0].start == pytest.approx(9.0 - 2 * 0.3)
