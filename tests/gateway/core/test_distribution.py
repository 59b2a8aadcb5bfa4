"""What is made of log-probabilities."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.core.distribution import Distribution
from cupola.scheduler.protocol.outputs import Scores

LOGPROBS = st.lists(st.floats(-1e4, 0), min_size=1, max_size=20).map(tuple)


@given(LOGPROBS, st.floats(0.05, 20))
def test_probabilities_add_up_and_keep_their_order(
    logprobs: tuple[float, ...], temperature: float
) -> None:
    found = Distribution.of(Scores(logprobs, 0.5), temperature)
    assert sum(found.probabilities) == pytest.approx(1)
    assert logprobs[found.best] == pytest.approx(max(logprobs), abs=1e-9)
    assert 0 <= found.confidence <= 1


@pytest.mark.parametrize(
    ("probabilities", "confidence"),
    [((1.0,), 1.0), ((0.5, 0.5), 0.0), ((0.8, 0.2), 0.6), ((0.25,) * 4, 0.0)],
)
def test_confidence_is_the_distance_from_chance(
    probabilities: tuple[float, ...], confidence: float
) -> None:
    found = Distribution.of(Scores(tuple(map(log, probabilities)), 1.0))
    assert found.confidence == pytest.approx(confidence)


def test_a_temperature_above_one_makes_less_certain() -> None:
    scores = Scores((log(0.8), log(0.2)), 1.0)
    assert Distribution.of(scores, 2.0).probabilities[0] == pytest.approx(2 / 3)
    assert Distribution.of(scores).expected([0, 10]) == pytest.approx(2)
