"""Where the end of a text stood before, against a plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.speculation.suffix_index import BREAK, LONGEST, Occurrence, SuffixIndex

TEXTS = st.lists(st.integers(BREAK, 3), max_size=60)


def index(*texts: list[int]) -> SuffixIndex:
    made = SuffixIndex()
    for text in texts:
        made.extend(text)
    return made


def places(found: list[Occurrence]) -> list[tuple[int, int]]:
    """(tokens that are the same, place of the next token)"""
    return [(occurrence.length, occurrence.next) for occurrence in found]


def test_the_newest_place_comes_first_with_how_much_of_it_is_the_same():
    assert places(index([1, 2, 3, 9, 2, 3, 8]).occurrences([1, 2, 3])) == [(2, 6), (3, 3)]


def test_a_single_token_counts_only_where_no_pair_stood():
    assert places(index([5, 1, 7, 1]).occurrences([2, 1])) == [(1, 2)]
    assert places(index([5, 1, 2, 1, 7]).occurrences([2, 1])) == [(2, 4)]


def test_what_nothing_follows_is_no_place():
    assert index([1, 2]).occurrences([1, 2]) == []
    assert index([1, 2, BREAK, 3]).occurrences([1, 2]) == []
    assert index([]).occurrences([1]) == []
    assert index([1, 2]).occurrences([]) == []


def test_a_long_repetition_is_compared_up_to_its_limit():
    text = list(range(100))
    (found,) = index([*text, 100, *text]).occurrences(text)
    assert (found.length, found.next) == (LONGEST, 100)


@given(st.lists(TEXTS, max_size=4), st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_the_index_finds_what_a_search_finds(texts: list[list[int]], end: list[int]):
    made = index(*texts)
    text = [token for part in texts for token in part]
    assert list(made.text) == text

    def same(place: int) -> int:
        length = 0
        while (
            length < min(len(end), place + 1, LONGEST) and text[place - length] == end[-1 - length]
        ):
            length += 1
        return length

    followed = [at for at in range(len(text) - 1) if text[at + 1] != BREAK]
    found = {at + 1: same(at) for at in reversed(followed)}
    least = 2 if max(found.values(), default=0) >= 2 else 1
    wanted = [(length, place) for place, length in found.items() if length >= least]
    assert places(made.occurrences(end)) == wanted[:24]
