from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.planning.slowest import Slowest


def after(*ratios: float) -> float:
    slowest = Slowest()
    for ratio in ratios:
        slowest.add(ratio)
    return slowest.ratio


def test_before_anything_is_known_a_step_may_take_twice_as_long():
    assert after() == pytest.approx(2, rel=0.03)
    assert after(*[1.0] * 40) == pytest.approx(2, rel=0.03)


def test_steps_that_do_not_vary_are_trusted_after_some_seconds():
    assert after(*[1.0] * 150) == 1


def test_while_little_is_known_one_slow_step_counts():
    assert after(*[1.0] * 150, 2.5) == pytest.approx(2.5, rel=0.03)


def test_what_was_slow_long_ago_is_forgotten():
    assert after(*[3.0] * 200, *[1.0] * 3000) == 1


@given(st.lists(st.floats(0, math.inf), max_size=300))
def test_it_is_never_less_than_1_nor_without_bounds(ratios):
    assert 1 <= after(*ratios) <= 4.2


@pytest.mark.parametrize("spread", [0.1, 0.2, 0.3])
def test_one_step_of_a_hundred_is_slower(spread):
    chance, slowest, slower = Random(2), Slowest(), 0
    for number in range(20_000):
        ratio = chance.lognormvariate(0, spread)
        slower += number >= 200 and ratio > slowest.ratio
        slowest.add(ratio)
    assert 0.003 <= slower / 20_000 <= 0.01
