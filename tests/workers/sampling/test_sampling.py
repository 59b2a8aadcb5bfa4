"""The sampler against plain definitions, and its draws against the distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.sampling.penalties import Penalties
from cupola.workers.sampling.sampling import NOTHING, Sampler, largest, penalize, sample
from tests.examples import examples
from tests.workers.sampling.reference import distribution

VOCABULARY = 1000
GRID = 300  # draws that stand for the whole distribution


def logits(rows: int, seed: int = 0, size: int = VOCABULARY, spread: float = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (rows, size)).astype(np.float32)


def draws(row: np.ndarray, params: SamplingParams, count: int) -> np.ndarray:
    sampler = Sampler(params)
    return np.array([sample(row[None], [sampler])[0] for _ in range(count)])


class EvenlySpaced:
    """In place of a generator: all numbers between 0 and 1, so to speak."""

    def __init__(self) -> None:
        self.left = iter((np.arange(GRID) + 0.5) / GRID)

    def random(self) -> float:
        return float(next(self.left))


def drawn_distribution(row: np.ndarray, sampler: Sampler) -> np.ndarray:
    """By inverse transform each token has one interval, so it is off by 1/GRID at most."""
    sampler.random = EvenlySpaced()  # type: ignore[assignment]
    counts = np.zeros(row.size)
    for _ in range(GRID):
        changed = row[None].copy()
        penalize(changed, [sampler])
        counts[sample(changed, [sampler])[0]] += 1
    return counts / GRID


@st.composite
def parameters(draw: st.DrawFn) -> SamplingParams:
    tokens = st.integers(0, 12)
    return SamplingParams(
        temperature=draw(st.sampled_from([None, 0.0, 0.1, 0.3, 0.59, 0.7, 1.0, 2.0])),
        top_k=draw(st.sampled_from([None, 0, 1, 2, 7, 40, 5000])),
        top_p=draw(st.sampled_from([None, 0.001, 0.5, 0.9, 0.999, 1.0])),
        min_p=draw(st.sampled_from([0.0, 0.0, 0.02, 0.3, 1.0])),
        typical_p=draw(st.sampled_from([1.0, 1.0, 0.1, 0.6, 0.95])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.7, -0.5])),
        presence_penalty=draw(st.sampled_from([0.0, 1.5, -2.0])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3, 0.7])),
        logit_bias=draw(st.dictionaries(tokens, st.sampled_from([-100.0, 2.0, 100.0]), max_size=2)),
        min_tokens=draw(st.sampled_from([0, 3])),
    )


@pytest.mark.slow
@settings(max_examples=examples(80), deadline=None)
@given(
    params=parameters(),
    size=st.sampled_from([5, 64, 3000]),
    spread=st.sampled_from([0.3, 1.0, 4.0]),
    seed=st.integers(0, 2**16),
    prompt=st.lists(st.integers(0, 4), max_size=4),
    answer=st.lists(st.integers(0, 4), max_size=4),
)
def test_every_combination_makes_the_distribution_of_the_definitions(
    params, size, spread, seed, prompt, answer
):
    row = logits(1, seed, size, spread)[0]
    penalties = Penalties(params, prompt, [3])
    for token in answer:
        penalties.add(token)
    found = drawn_distribution(row, Sampler(params, penalties=penalties))
    expected = distribution(row, params, prompt, answer, [3])
    assert np.abs(found - expected).max() <= 1 / GRID + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.001, 3.0])
@pytest.mark.parametrize("typical_p", [0.3, 1.0])
@pytest.mark.parametrize("top_p", [0.02, 0.98])
def test_what_is_left_of_a_large_vocabulary_is_the_fewest_tokens(spread, typical_p, top_p):
    """Where too many tokens decide to sort them all, and where all are alike."""
    row = logits(1, 5, 5_000, spread)[0]
    params = SamplingParams(top_p=top_p, typical_p=typical_p)
    left = np.flatnonzero(distribution(row, params))
    seen = np.array(sorted(set(np.flatnonzero(drawn_distribution(row, Sampler(params))).tolist())))
    if spread == 0:  # which of equals are left is open, how many is not
        assert seen.size <= left.size
    else:
        assert np.isin(seen, left).mean() > 0.99  # float32 puts a token of the edge in or out


def test_temperature_zero_and_top_k_one_take_the_best():
    rows = logits(3)
    params = [SamplingParams(temperature=0), SamplingParams(top_k=1)]
    samplers = [Sampler(one) for one in (*params, SamplingParams(temperature=1e-300))]
    assert sample(rows, samplers).tolist() == rows.argmax(axis=1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [0, 8])
@pytest.mark.parametrize("top_p", [0.8, 1.0])
def test_draws_follow_the_distribution(top_k: int, top_p: float):
    """Chi-square over the tokens left; 24.3 is its 99.99th percentile at 5 degrees of freedom."""
    row = np.log(np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05], np.float32))
    params = SamplingParams(seed=7, top_k=top_k, top_p=top_p)
    expected = 4000 * distribution(row, params)
    counts = np.bincount(draws(row, params, 4000), minlength=row.size)
    left = expected > 0
    assert counts[left].sum() == 4000
    assert ((counts - expected)[left] ** 2 / expected[left]).sum() < 24.3


@pytest.mark.slow
def test_a_flat_distribution_with_top_p_reaches_beyond_the_first_candidates():
    row = np.zeros(VOCABULARY, np.float32)
    params = SamplingParams(seed=1, top_p=0.99)
    assert len(set(draws(row, params, 3000).tolist())) > 700


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(parameters(), min_size=1, max_size=5), st.integers(0, 2**16))
def test_a_seeded_row_draws_the_same_alone_and_in_company(params, seed):
    rows = logits(len(params), seed)
    together = [Sampler(one, 0, None) for one in params]
    apart = [Sampler(one, 0, None) for one in params]
    for sampler, twin in zip(together, apart, strict=True):
        sampler.random, twin.random = (np.random.default_rng(seed) for _ in range(2))
    for _ in range(5):
        tokens = sample(rows, together).tolist()
        for row, sampler, token in zip(rows, apart, tokens, strict=True):
            assert sample(row[None], [sampler])[0] == token


def test_unseeded_rows_differ():
    row = np.zeros(VOCABULARY, np.float32)
    assert draws(row, SamplingParams(), 20).tolist() != draws(row, SamplingParams(), 20).tolist()


@pytest.mark.parametrize("wrong", [[np.nan], [np.inf], [-np.inf] * VOCABULARY])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_logits_that_are_no_numbers_make_no_token_in_their_own_row(wrong, temperature):
    rows = logits(3)
    rows[1, : len(wrong)] = wrong
    samplers = [Sampler(SamplingParams(temperature=temperature, seed=1)) for _ in rows]
    tokens = sample(rows, samplers)
    assert (tokens == NOTHING).tolist() == [False, True, False]


@pytest.mark.parametrize("options", [{}, {"top_p": 0.5}, {"typical_p": 0.5}, {"top_k": 3}])
def test_infinite_logits_forbid_and_force(options):
    rows = np.full((1, VOCABULARY), -np.inf, np.float32)
    rows[:, 5] = 1.0
    assert sample(rows, [Sampler(SamplingParams(seed=1, **options))]).tolist() == [5]


def test_a_negative_seed_is_a_seed():
    row = logits(1)[0]
    assert (
        draws(row, SamplingParams(seed=-3), 9).tolist()
        == draws(row, SamplingParams(seed=-3), 9).tolist()
    )


def test_seeds_and_answers_have_numbers_of_their_own():
    row = np.zeros(VOCABULARY, np.float32)
    made = set()
    for seed, stream in ((1, 0), (1, 1), (2, 0)):
        sampler = Sampler(SamplingParams(seed=seed), stream)
        made.add(tuple(int(sample(row[None], [sampler])[0]) for _ in range(8)))
    assert len(made) == 3


@given(st.integers(1, 2000), st.integers(1, 64), st.integers(0, 2**16), st.booleans())
def test_the_largest_are_found_without_sorting(size, count, seed, few_values):
    row = logits(1, seed, size)[0]
    if few_values:  # many are alike
        row = np.round(row)
    count = min(count, size)
    found = largest(row, count)
    assert len(set(found.tolist())) == count
    assert np.sort(row[found]).tolist() == np.sort(row)[-count:].tolist()


@given(st.integers(1, 2000), st.integers(1, 64), st.integers(0, 2**16), st.integers(1, 80))
def test_the_largest_are_among_those_that_a_grammar_leaves(size, count, seed, left):
    row = logits(1, seed, size)[0]
    row[np.random.default_rng(seed).permutation(size)[left:]] = -np.inf
    values = row[largest(row, min(count, size))]
    expected = np.sort(row)[-min(count, size) :]
    assert np.sort(values[np.isfinite(values)]).tolist() == expected[np.isfinite(expected)].tolist()
