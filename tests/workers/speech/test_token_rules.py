"""What may follow in a transcript, whatever the model would like to say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.speech.token_rules import choose, log_sum, probability
from tests.workers.speech.few_tokens import TOKENS

COUNT = TOKENS.vocabulary + 5  # a model may have more columns than tokens


def generated(seed: int, temperature: float, louder: float) -> list[int]:
    """A transcript of a model whose logits are noise. ``louder``: what times have more."""
    random = np.random.default_rng(seed)
    chosen: list[int] = []
    while len(chosen) < 60:
        logits = random.standard_normal(COUNT).astype(np.float32) * 4
        logits[TOKENS.first_time :] += louder
        token = choose(logits, chosen, TOKENS, temperature, random).token
        if token == TOKENS.end:
            break
        chosen.append(token)
    return chosen


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([-6.0, -3.0, 2.0]))
def test_times_come_in_pairs_and_never_go_back(
    seed: int, temperature: float, louder: float
) -> None:
    chosen = generated(seed, temperature, louder)
    first = TOKENS.first_time
    assert first <= chosen[0] <= first + 50  # within the first second
    assert all(token < TOKENS.vocabulary for token in chosen)
    assert not {3, 41, 42, 43, 44} & set(chosen)
    times = [token for token in chosen if token >= first]
    assert times == sorted(times)
    for one, two, three in zip(chosen, chosen[1:], chosen[2:], strict=False):
        assert not (one >= first and two >= first and three >= first)
        assert not (one < first <= two and three < first)  # text follows a pair only


def test_a_time_is_taken_where_all_times_together_are_likelier_than_any_text() -> None:
    logits = np.full(COUNT, -20, np.float32)
    logits[10] = 5
    logits[TOKENS.first_time + 100 : TOKENS.first_time + 500] = 0
    chosen = [TOKENS.first_time, 11]
    token = choose(logits, chosen, TOKENS, 0.0, np.random.default_rng()).token
    assert token == TOKENS.first_time + 100  # 400 times of 1 against one text of e^5


def test_the_log_probability_is_that_among_the_tokens_that_may_follow() -> None:
    logits = np.full(COUNT, -np.inf, np.float32)
    logits[[3, 10, 11]] = [9, 1, 1]  # 3 is suppressed
    found = choose(logits, [TOKENS.first_time, 12], TOKENS, 0.0, np.random.default_rng())
    assert found.token == 10
    assert abs(found.logprob - np.log(0.5)) < 1e-6


def test_sums_of_exponentials_do_not_overflow() -> None:
    assert abs(log_sum(np.array([1000, 1000], np.float32)) - (1000 + np.log(2))) < 1e-3
    assert log_sum(np.full(3, -np.inf, np.float32)) == -np.inf
    assert abs(probability(np.array([0, 0, 0, 0], np.float32), 2) - 0.25) < 1e-6
