"""The sampler against plain definitions, and its draws against the distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.messages import SamplingParams
from cupola.workers.sampling import NOTHING, Sampler, sample

VOCABULARY = 1000


def logits(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (rows, VOCABULARY)).astype(np.float32)


def allowed(row: np.ndarray, params: SamplingParams) -> set[int]:
    """The tokens that temperature, top_k and top_p leave, by a full sort."""
    temperature = 1.0 if params.temperature is None else params.temperature
    weights = np.exp((row / np.float32(temperature)).astype(np.float64))
    order = np.argsort(-weights, kind="stable")[: params.top_k or None]
    share = weights[order] / weights[order].sum()
    before = np.cumsum(share) - share
    return set(order[before < (1.0 if params.top_p is None else params.top_p)].tolist())


def draws(row: np.ndarray, params: SamplingParams, count: int) -> np.ndarray:
    sampler = Sampler(params)
    return np.array([sample(row[None], [sampler])[0] for _ in range(count)])


def test_temperature_zero_and_top_k_one_take_the_best():
    rows = logits(2)
    samplers = [Sampler(SamplingParams(temperature=0)), Sampler(SamplingParams(top_k=1))]
    assert sample(rows, samplers).tolist() == rows.argmax(axis=1).tolist()


@given(
    temperature=st.floats(0.2, 2),
    top_k=st.sampled_from([0, 2, 40, 999, 5000]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_draws_stay_within_what_the_parameters_leave(temperature, top_k, top_p, seed):
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    row = logits(1, seed % 100)[0]
    assert set(draws(row, params, 20).tolist()) <= allowed(row, params)


@pytest.mark.parametrize("top_k", [0, 8])
@pytest.mark.parametrize("top_p", [0.8, 1.0])
def test_draws_follow_the_distribution(top_k: int, top_p: float):
    """Chi-square over the tokens left; 24.3 is its 99.99th percentile at 5 degrees of freedom."""
    row = np.log(np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05], np.float32))
    params = SamplingParams(seed=7, top_k=top_k, top_p=top_p)
    left = sorted(allowed(row, params))
    expected = np.exp(row[left].astype(np.float64))
    expected *= 4000 / expected.sum()
    counts = np.bincount(draws(row, params, 4000), minlength=row.size)[left]
    assert counts.sum() == 4000
    assert ((counts - expected) ** 2 / expected).sum() < 24.3


def test_a_flat_distribution_with_top_p_reaches_beyond_the_first_candidates():
    row = np.zeros(VOCABULARY, np.float32)
    params = SamplingParams(seed=1, top_p=0.99)
    assert len(set(draws(row, params, 3000).tolist())) > 700


def test_a_seeded_row_draws_the_same_alone_and_in_company():
    row = logits(1)[0]
    params = SamplingParams(seed=11, temperature=0.9, top_p=0.95)
    alone = draws(row, params, 30).tolist()
    sampler, others = Sampler(params), [Sampler(SamplingParams()) for _ in range(3)]
    rows = np.stack([logits(1, 5)[0], row, *logits(2, 6)])
    samplers = [others[0], sampler, *others[1:]]
    assert [int(sample(rows, samplers)[1]) for _ in range(30)] == alone


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


def test_infinite_logits_forbid_and_force():
    rows = np.full((2, VOCABULARY), -np.inf, np.float32)
    rows[:, 5] = 1.0
    samplers = [Sampler(SamplingParams(seed=1)), Sampler(SamplingParams(seed=1, top_p=0.5))]
    assert sample(rows, samplers).tolist() == [5, 5]


def test_a_negative_seed_is_a_seed():
    row = logits(1)[0]
    assert (
        draws(row, SamplingParams(seed=-3), 9).tolist()
        == draws(row, SamplingParams(seed=-3), 9).tolist()
    )
