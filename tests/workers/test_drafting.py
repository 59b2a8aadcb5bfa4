"""Guesses from what repeats, and how soon they stop when they are wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.drafting import GRAM, LONGEST, LONGEST_PAUSE, Drafter


def test_what_followed_before_is_guessed_to_follow_again():
    assert Drafter([], [1, 2, 3, 4, 5, 9, 1, 2, 3]).guess(8) == (4, 5)


def test_the_latest_occurrence_counts():
    assert Drafter([], [1, 2, 3, 4, 0, 1, 2, 3, 7, 8, 1, 2, 3]).guess(1) == (7,)


def test_a_prediction_is_looked_up_like_the_prompt():
    drafter = Drafter([5, 6, 7, 8, 9], [1, 2])
    for token in (5, 6, 7):
        drafter.add(token)
    assert drafter.guess(8) == (8, 9)


def test_nothing_is_guessed_without_a_repetition_or_without_room():
    assert Drafter([], [1, 2, 3, 4]).guess(8) == ()
    assert Drafter([], [1, 2, 3, 1, 2, 3]).guess(0) == ()


def test_a_guess_never_reaches_from_one_text_into_the_next():
    assert Drafter([1, 2, 3], [1, 2, 3]).guess(8) == ()


def test_guesses_widen_while_they_are_right():
    drafter = Drafter([], [*range(100), *range(10)])
    widths = []
    for _ in range(4):
        guessed = drafter.guess(100)
        widths.append(len(guessed))
        drafter.learn(len(guessed), len(guessed))
        for token in guessed:
            drafter.add(token)
    assert widths == [2, 4, LONGEST, LONGEST]
    assert drafter.accepted == sum(widths)


def test_guesses_become_rare_while_they_are_wrong():
    drafter = Drafter([], [1, 2, 3] * 20)
    made = 0
    for _ in range(1000):
        if guessed := drafter.guess(8):
            made += 1
            drafter.learn(len(guessed), 0)
    assert made < 10 + 1000 / LONGEST_PAUSE
    assert drafter.rejected == 2 * made


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 10))
def test_a_guess_is_always_what_followed_some_occurrence(tokens: list[int], limit: int):
    guessed = Drafter([], tokens).guess(limit)
    assert len(guessed) <= limit
    if guessed:
        whole = [*tokens[-GRAM:], *guessed]
        assert any(tokens[at : at + len(whole)] == whole for at in range(len(tokens)))
