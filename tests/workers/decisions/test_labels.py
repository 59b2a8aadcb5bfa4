"""Which tokens stand for options, and in which orders options are shown."""

from __future__ import annotations

from collections import Counter

import pytest

from cupola.workers.decisions.labels import labels_of
from cupola.workers.decisions.trie import END, Tokens
from cupola.workers.decisions.wording import orders


class Words:
    """A tokenizer that knows some words; other texts are tokens of characters."""

    def __init__(self, *known: str, merges: bool = False) -> None:
        self._known = {word: 1000 + number for number, word in enumerate(known)}
        self._merges = merges  # a text without a space before it merges with what is there

    def __call__(self, text: str) -> Tokens | None:
        if self._merges and not text.startswith(" "):
            return None
        if text in self._known:
            return (self._known[text],)
        return tuple(map(ord, text))


def test_the_options_own_texts_come_first() -> None:
    labels = labels_of(["red", "green"], Words("red", "green", "A", "B"))
    assert labels is not None
    assert (labels.texts, labels.tokens) == (None, ((1000,), (1001,)))


def test_short_options_stand_for_themselves() -> None:
    labels = labels_of(["red", "dark green"], Words("red"))
    assert labels is not None and labels.texts is None
    assert labels.tokens == ((1000, END), (*map(ord, "dark green"), END))


def test_letters_stand_for_options_of_many_tokens() -> None:
    labels = labels_of(["red", "green " * 20], Words("red"))
    assert labels is not None
    assert (labels.texts, labels.tokens) == (("A", "B"), ((65,), (66,)))


def test_numbers_stand_for_many_options() -> None:
    options = [f"option {number}" for number in range(40)]
    labels = labels_of(options, Words(*map(str, range(1, 41))))
    assert labels is not None and labels.texts is not None
    assert labels.texts[-1] == "40"


def test_without_labels_the_texts_are_scored_with_their_end() -> None:
    options = [f"o{number}" for number in range(40)]
    labels = labels_of(options, Words())
    assert labels is not None
    assert labels.texts is None
    assert labels.tokens[3] == (ord("o"), ord("3"), END)


def test_a_space_keeps_a_label_apart_from_what_stands_before_it() -> None:
    labels = labels_of(["dark red " * 9, "green " * 9], Words(" A", " B", merges=True))
    assert labels is not None
    assert (labels.texts, labels.tokens) == (("A", "B"), ((1000,), (1001,)))


def test_options_with_equal_tokens_cannot_be_told_apart() -> None:
    assert labels_of(["xy"] * 30, Words()) is None


@pytest.mark.parametrize(("count", "permutations"), [(2, 1), (2, 2), (3, 8), (4, 2), (7, 7)])
def test_each_option_stands_in_as_many_places(count: int, permutations: int) -> None:
    found = orders(count, permutations)
    assert len(found) == min(count, permutations) == len(set(found))
    assert found[0] == tuple(range(count))
    for place in range(count):
        assert max(Counter(order[place] for order in found).values()) == 1
