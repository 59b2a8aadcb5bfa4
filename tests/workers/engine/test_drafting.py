"""Guesses from what repeats, and how likely they must be."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.engine.drafting import TOKEN_COST, Drafter, Guess, Memories, Memory, pays, worth
from cupola.workers.run.packing import MAX_DRAFT_TOKENS

ANY = 0.01  # likely enough: whatever is found
ALONE = worth(1)


def drafter(prompt: list[int], prediction: list[int] | None = None) -> Drafter:
    return Drafter(Memory(), prediction or [], prompt)


def answer(of: Drafter, tokens: list[int]) -> Drafter:
    for token in tokens:
        of.add(token)
    return of


def test_what_followed_before_is_guessed_to_follow_again():
    assert drafter([1, 2, 3, 4, 5, 9, 1, 2, 3]).guess(8, ANY).tokens[:3] == (4, 5, 9)


def test_what_followed_last_counts():
    assert drafter([1, 2, 3, 4, 0, 1, 2, 3, 7, 8, 1, 2, 3]).guess(1, ANY).tokens == (7,)


def test_what_follows_more_tokens_that_repeat_counts_more():
    """4 and 5 followed 3 once each, but 4 all that stands before."""
    prompt = [*range(20, 28), 3, 4, 0, 3, 5, 0, *range(20, 28), 3]
    assert drafter(prompt).guess(1, ANY).tokens == (4,)


def test_a_prediction_is_looked_up_like_the_prompt():
    predicted = answer(drafter([1, 2], [5, 6, 7, 8, 9]), [5, 6, 7])
    assert predicted.guess(8, ANY).tokens == (8, 9)


def test_nothing_is_guessed_without_a_repetition_or_without_room():
    assert drafter([1, 2, 3, 4]).guess(8, ANY).tokens == ()
    assert drafter([1, 2, 3, 1, 2, 3]).guess(0, ANY).tokens == ()
    assert drafter([]).guess(8, ANY).tokens == ()


def test_a_guess_never_reaches_from_one_text_into_the_next():
    assert drafter([1, 2, 3], [1, 2, 3]).guess(8, ANY).tokens == ()


def test_a_guess_must_be_as_likely_as_asked():
    """What was once 4 and once 5 is neither for sure."""
    prompt = [3, 4, 8, 3, 5, 9, 3]
    assert drafter(prompt).guess(1, 0.3).tokens == (5,)
    assert drafter(prompt).guess(1, 0.6).tokens == ()


def test_the_more_generate_the_likelier_a_guess_must_be():
    assert [worth(count) for count in range(1, 9)] == sorted(worth(count) for count in range(1, 9))
    assert TOKEN_COST < worth(1) < 0.2
    assert 0.5 < worth(8) < 1


def test_what_has_to_be_copied_for_guesses_must_be_worth_it():
    sure, bet = Guess((1, 2, 3), 2.7), Guess((1,), 0.7)
    assert pays(1, [bet], 0.0)
    assert not pays(1, [bet], 1.0)
    assert pays(1, [sure], 1.0)
    assert not pays(8, [bet], 0.1)
    assert not pays(8, [bet, bet, bet], 0.5)
    assert pays(8, [sure] * 5, 0.5)


def test_how_many_guesses_are_expected_to_be_right_is_told():
    guess = drafter([1, 2, 3, 4, 5, 9, 1, 2, 3]).guess(2, ANY)
    assert len(guess.tokens) == 2
    assert 0 < guess.right < 2


def test_guesses_widen_while_they_are_right():
    copying = drafter([*range(500), 600, *range(10)])
    widths, written = [], 10
    while written < 480:
        guessed = copying.guess(100, worth(4)).tokens
        widths.append(len(guessed))
        for _ in range(len(guessed) + 1):
            copying.add(written)
            written += 1
    assert widths[0] < MAX_DRAFT_TOKENS
    assert widths[-1] == MAX_DRAFT_TOKENS


def test_guesses_become_rare_while_they_are_wrong():
    wrong = drafter([1, 2, 3] * 20)
    guessed = 0
    for number in range(400):
        guessed += len(wrong.guess(8, ALONE).tokens)
        wrong.add(1000 + number)  # never what was expected
        wrong.add(1 + number % 3)  # and back to where something was
    assert guessed < 100


def test_what_an_earlier_answer_had_is_guessed():
    memory = Memory()
    answer(Drafter(memory, [], [1]), [5, 6, 7, 8, 9]).close()
    later = answer(Drafter(memory, [], [2]), [5, 6])
    assert later.guess(8, ANY).tokens == (7, 8, 9)


def test_nothing_is_guessed_from_an_answer_that_is_not_over_or_from_an_earlier_prompt():
    memory = Memory()
    answer(Drafter(memory, [], [5, 6, 7]), [1, 2, 3])
    answer(Drafter(memory, [], [5, 6, 7]), [4]).close()
    assert answer(Drafter(memory, [], [0]), [5, 6]).guess(8, ANY).tokens == ()
    assert answer(Drafter(memory, [], [0]), [1, 2]).guess(8, ANY).tokens == ()


def test_each_tenant_has_its_own_earlier_answers():
    memories = Memories()
    answer(Drafter(memories.of("a"), [], [1]), [5, 6, 7, 8]).close()
    assert answer(Drafter(memories.of("b"), [], [1]), [5, 6]).guess(8, ANY).tokens == ()
    assert answer(Drafter(memories.of("a"), [], [1]), [5, 6]).guess(8, ANY).tokens == (7, 8)


def test_who_was_not_here_for_longest_is_forgotten():
    memories = Memories()
    first, second = memories.of("first"), memories.of("second")
    assert memories.of("first") is first
    for number in range(7):
        memories.of(str(number))
    assert memories.of("first") is first
    assert memories.of("second") is not second


@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.lists(st.integers(0, 3), max_size=30),
    st.integers(0, 10),
    st.sampled_from([ANY, ALONE, worth(8)]),
)
def test_each_guess_is_what_followed_its_last_token_somewhere(
    tokens: list[int], earlier: list[int], limit: int, likely: float
):
    memory = Memory()
    answer(Drafter(memory, [], []), earlier).close()
    guessed = Drafter(memory, [], tokens).guess(limit, likely).tokens
    assert len(guessed) <= min(limit, MAX_DRAFT_TOKENS)
    pairs = {pair for text in (tokens, earlier) for pair in pairwise(text)}
    whole = [*tokens[-1:], *guessed]
    assert pairs.issuperset(pairwise(whole))


def test_the_likelier_a_guess_must_be_the_shorter_it_is():
    copying = drafter([*range(100), 200, *range(10)])
    widths = [len(copying.guess(8, likely).tokens) for likely in (ANY, ALONE, worth(8))]
    assert widths[0] > widths[1] > widths[2]
