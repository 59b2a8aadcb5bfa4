"""Draft tokens from what repeats, and how probable they must be."""

from __future__ import annotations

from itertools import pairwise, takewhile

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.run.packing import MAX_DRAFT_TOKENS
from cupola.workers.speculation.draft import (
    TOKEN_COST,
    Draft,
    min_probability,
    worth_verifying,
)
from cupola.workers.speculation.draft_history import DraftHistories, DraftHistory
from cupola.workers.speculation.drafter import Drafter

ANY = 0.01  # probable enough: whatever is found
ALONE = min_probability(1)


def drafter(prompt: list[int], prediction: list[int] | None = None) -> Drafter:
    return Drafter(DraftHistory(), prediction or [], prompt)


def answer(of: Drafter, tokens: list[int]) -> Drafter:
    for token in tokens:
        of.add(token)
    return of


def test_what_followed_before_is_drafted_again():
    assert drafter([1, 2, 3, 4, 5, 9, 1, 2, 3]).draft(8, ANY).tokens[:3] == (4, 5, 9)


def test_what_followed_last_counts():
    assert drafter([1, 2, 3, 4, 0, 1, 2, 3, 7, 8, 1, 2, 3]).draft(1, ANY).tokens == (7,)


def test_what_follows_more_tokens_that_repeat_counts_more():
    """4 and 5 followed 3 once each, but 4 all that stands before."""
    prompt = [*range(20, 28), 3, 4, 0, 3, 5, 0, *range(20, 28), 3]
    assert drafter(prompt).draft(1, ANY).tokens == (4,)


def test_a_prediction_is_looked_up_like_the_prompt():
    predicted = answer(drafter([1, 2], [5, 6, 7, 8, 9]), [5, 6, 7])
    assert predicted.draft(8, ANY).tokens == (8, 9)


def test_there_is_no_draft_without_a_repetition_or_without_room():
    assert drafter([1, 2, 3, 4]).draft(8, ANY).tokens == ()
    assert drafter([1, 2, 3, 1, 2, 3]).draft(0, ANY).tokens == ()
    assert drafter([]).draft(8, ANY).tokens == ()


def test_a_draft_never_reaches_from_one_text_into_the_next():
    assert drafter([1, 2, 3], [1, 2, 3]).draft(8, ANY).tokens == ()


def test_a_draft_must_be_as_probable_as_demanded():
    """What followed was once 4 and once 5, so neither is sure."""
    prompt = [3, 4, 8, 3, 5, 9, 3]
    assert drafter(prompt).draft(1, 0.3).tokens == (5,)
    assert drafter(prompt).draft(1, 0.6).tokens == ()


def test_the_more_generate_the_more_probable_a_draft_must_be():
    assert [min_probability(count) for count in range(1, 9)] == sorted(
        min_probability(count) for count in range(1, 9)
    )
    assert TOKEN_COST < min_probability(1) < 0.2
    assert 0.5 < min_probability(8) < 1


def test_what_has_to_be_copied_for_drafts_must_be_worth_it():
    sure, bet = Draft((1, 2, 3), 2.7), Draft((1,), 0.7)
    assert worth_verifying(1, [bet], 0.0)
    assert not worth_verifying(1, [bet], 1.0)
    assert worth_verifying(1, [sure], 1.0)
    assert not worth_verifying(8, [bet], 0.1)
    assert not worth_verifying(8, [bet, bet, bet], 0.5)
    assert worth_verifying(8, [sure] * 5, 0.5)


def test_a_draft_says_how_many_of_its_tokens_are_expected_to_be_right():
    draft = drafter([1, 2, 3, 4, 5, 9, 1, 2, 3]).draft(2, ANY)
    assert len(draft.tokens) == 2
    assert 0 < draft.expected < 2


def test_drafts_become_longer_while_they_are_right():
    copying = drafter([*range(500), 600, *range(10)])
    widths, written = [], 10
    while written < 480:
        drafted = copying.draft(100, min_probability(4)).tokens
        widths.append(len(drafted))
        for _ in range(len(drafted) + 1):
            copying.add(written)
            written += 1
    assert widths[0] < MAX_DRAFT_TOKENS
    assert widths[-1] == MAX_DRAFT_TOKENS


def test_drafts_become_rare_while_they_are_wrong():
    wrong = drafter([1, 2, 3] * 20)
    drafted = []
    for number in range(400):
        drafted.append(len(wrong.draft(8, ALONE).tokens))
        wrong.add(1000 + number)  # never what was expected
        wrong.add(1 + number % 3)  # and back to where something was
    assert sum(drafted[:50]) > 50
    assert sum(drafted[-200:]) < 10


def test_what_an_earlier_answer_had_is_drafted():
    history = DraftHistory()
    answer(Drafter(history, [], [1]), [5, 6, 7, 8, 9]).close()
    later = answer(Drafter(history, [], [2]), [5, 6])
    assert later.draft(8, ANY).tokens == (7, 8, 9)


def test_there_is_no_draft_from_an_answer_that_is_not_over_or_from_an_earlier_prompt():
    history = DraftHistory()
    answer(Drafter(history, [], [5, 6, 7]), [1, 2, 3])
    answer(Drafter(history, [], [5, 6, 7]), [4]).close()
    assert answer(Drafter(history, [], [0]), [5, 6]).draft(8, ANY).tokens == ()
    assert answer(Drafter(history, [], [0]), [1, 2]).draft(8, ANY).tokens == ()


def test_each_tenant_has_its_own_earlier_answers():
    histories = DraftHistories()
    answer(Drafter(histories.of("a"), [], [1]), [5, 6, 7, 8]).close()
    assert answer(Drafter(histories.of("b"), [], [1]), [5, 6]).draft(8, ANY).tokens == ()
    assert answer(Drafter(histories.of("a"), [], [1]), [5, 6]).draft(8, ANY).tokens == (7, 8)


def test_the_tenant_that_was_not_served_for_longest_is_forgotten():
    histories = DraftHistories()
    first, second = histories.of("first"), histories.of("second")
    assert histories.of("first") is first
    for number in range(7):
        histories.of(str(number))
    assert histories.of("first") is first
    assert histories.of("second") is not second


class Grammar:
    """Forces some tokens, and allows no others than those of ``allowed``."""

    def __init__(self, forced: list[int], allowed: set[int]) -> None:
        self._forced, self._allowed = forced, allowed

    def forced(self) -> list[int]:
        return self._forced

    def valid(self, tokens: list[int]) -> int:
        return len(list(takewhile(self._allowed.__contains__, tokens)))


def test_what_a_grammar_forces_is_drafted_first_and_what_it_forbids_is_not():
    prompt = [1, 2, 3, 4, 5, 6, 9, 1]
    assert drafter(prompt).draft(8, ANY, Grammar([2, 3], set(range(6)))).tokens == (2, 3, 4, 5)
    assert drafter(prompt).draft(8, ANY, Grammar([7], {7})).tokens == (7,)
    assert drafter(prompt).draft(1, ANY, Grammar([2, 3], set(range(6)))).tokens == (2,)
    assert drafter(prompt).draft(8, ANY, Grammar([], set())) == Draft()


def test_what_a_grammar_forces_is_drafted_less_if_the_model_spells_it_otherwise():
    other, grammar = drafter([8]), Grammar([5], {5, 6})
    drafted = []
    for _ in range(100):
        drafted.append(len(other.draft(8, min_probability(4), grammar).tokens))
        other.add(6)
    assert drafted[0] == 1 and sum(drafted[-50:]) == 0


@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.lists(st.integers(0, 3), max_size=30),
    st.integers(0, 10),
    st.sampled_from([ANY, ALONE, min_probability(8)]),
)
def test_each_draft_token_is_what_followed_its_last_token_somewhere(
    tokens: list[int], earlier: list[int], limit: int, probability: float
):
    history = DraftHistory()
    answer(Drafter(history, [], []), earlier).close()
    drafted = Drafter(history, [], tokens).draft(limit, probability).tokens
    assert len(drafted) <= min(limit, MAX_DRAFT_TOKENS)
    pairs = {pair for text in (tokens, earlier) for pair in pairwise(text)}
    whole = [*tokens[-1:], *drafted]
    assert pairs.issuperset(pairwise(whole))


def test_the_more_probable_a_draft_must_be_the_shorter_it_is():
    copying = drafter([*range(100), 200, *range(10)])
    widths = [
        len(copying.draft(8, probability).tokens)
        for probability in (ANY, ALONE, min_probability(8))
    ]
    assert widths[0] > widths[1] > widths[2]
