"""Penalties and biases against their definitions over the whole vocabulary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.sampling.penalties import Penalties

VOCABULARY = 50
tokens = st.lists(st.integers(0, VOCABULARY - 1), max_size=20)


@given(
    prompt=tokens,
    answer=tokens,
    frequency=st.sampled_from([0.0, 0.5, -1.0]),
    presence=st.sampled_from([0.0, 0.7, -2.0]),
    repetition=st.sampled_from([1.0, 1.3, 0.8]),
    bias=st.dictionaries(st.integers(0, 60), st.floats(-100, 100, width=32), max_size=3),
)
def test_against_the_definitions(prompt, answer, frequency, presence, repetition, bias):
    params = SamplingParams(
        frequency_penalty=frequency,
        presence_penalty=presence,
        repetition_penalty=repetition,
        logit_bias=bias,
    )
    row = np.random.default_rng(1).normal(0, 3, VOCABULARY).astype(np.float32)
    expected = row.astype(np.float64)
    if repetition != 1.0:
        for token in set(prompt) | set(answer):
            value = expected[token]
            expected[token] = value / repetition if value > 0 else value * repetition
    counts = np.bincount(np.array(answer, np.int64), minlength=VOCABULARY)
    expected -= counts * frequency + (counts > 0) * presence
    for token, value in bias.items():
        if token < VOCABULARY:
            expected[token] += value
    penalties = Penalties(params, prompt, [])
    for token in answer:
        penalties.add(token)
    if penalties.active:
        penalties.apply(row)
    np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


def test_nothing_ends_the_answer_before_min_tokens():
    penalties = Penalties(SamplingParams(min_tokens=2), [], [3])
    for made in range(3):
        row = np.zeros(VOCABULARY, np.float32)
        assert penalties.active == (made < 2)
        if penalties.active:
            penalties.apply(row)
        assert np.isinf(row[3]) == (made < 2)
        penalties.add(1)
