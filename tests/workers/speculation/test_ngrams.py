"""What followed each gram, against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.speculation.ngrams import Follower, NgramTable

MANY = 2**16  # places, so that few tokens hardly share one


def test_what_followed_last_is_found_and_how_often_it_did():
    table = NgramTable([2], MANY)
    text = [1, 2, 3, 1, 2, 4, 1, 2, 4]
    table.learn(text, 0, len(text))
    assert table.find([1, 2]) == Follower(token=4, times=2, seen=3)
    assert table.find([2, 1]) is None


def test_only_the_part_asked_for_is_learnt_and_what_stands_before_it_counts():
    table = NgramTable([1], MANY)
    table.learn([1, 2, 3, 4], 2, 3)
    assert table.find([2]) == Follower(3, 1, 1)
    assert table.find([1]) is None
    assert table.find([3]) is None


def test_a_text_learnt_in_parts_is_known_like_one_learnt_at_once():
    text = [number * number % 7 for number in range(50)]
    whole, parts = NgramTable([3, 1], MANY), NgramTable([3, 1], MANY)
    whole.learn(text, 0, 50)
    for begin in range(0, 50, 9):
        parts.learn(text, begin, min(50, begin + 9))
    grams = [text[at : at + length] for length in (1, 3) for at in range(50 - length)]
    assert [whole.find(gram) for gram in grams] == [parts.find(gram) for gram in grams]


def test_who_comes_last_has_the_place():
    table = NgramTable([1], 1)
    table.learn([5, 6, 7], 0, 3)
    assert table.find([6]) == Follower(7, 1, 1)
    assert table.find([5]) is None


def test_counts_stay_within_their_bytes_and_keep_their_ratio():
    table = NgramTable([1], MANY)
    table.learn([1] * 1000, 0, 1000)
    found = table.find([1])
    assert found is not None
    assert found.token == 1
    assert 100 < found.times == found.seen < 256
    table.learn([1, 2], 0, 2)
    assert table.find([1]) == Follower(2, 1, found.seen + 1)


@given(st.lists(st.integers(0, 4), max_size=80), st.integers(1, 4))
def test_a_table_with_room_knows_each_gram_as_a_dictionary_does(text: list[int], length: int):
    table = NgramTable([length], MANY)
    table.learn(text, 0, len(text))
    followers: dict[tuple[int, ...], list[int]] = {}
    for at in range(length, len(text)):
        followers.setdefault(tuple(text[at - length : at]), []).append(text[at])
    for gram, tokens in followers.items():
        found = table.find(gram)
        if found is None:  # another gram has its place
            assert len(followers) > 1
            continue
        times = 1
        while times < len(tokens) and tokens[-1 - times] == tokens[-1]:
            times += 1
        assert found == Follower(tokens[-1], times, len(tokens))
