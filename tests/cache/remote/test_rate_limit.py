"""A download stays below its rate, whatever pieces come. Time is simulated."""

from __future__ import annotations

import random

import pytest

from cupola.cache.remote.rate_limit import RateLimit


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [1000.0, 50_000.0])
def test_the_rate_is_kept(rate: float, seed: int) -> None:
    chance, limit = random.Random(seed), RateLimit(rate)
    now, total = 100.0, 0
    for _ in range(2000):
        count = chance.randrange(1, 5000)
        total += count
        now += limit.wait(count, now) + chance.choice((0.0, 0.001))
    assert total / rate * 0.99 <= now - 100 + 0.3
    assert now - 100 <= total / rate + 2000 * 0.001 + 0.1  # and no slower than it must be


def test_a_pause_gives_no_large_burst() -> None:
    limit = RateLimit(1000.0)
    limit.wait(1000, 0.0)
    assert limit.wait(1000, 1000.0) == pytest.approx(0.75)


def test_without_a_rate_nothing_waits() -> None:
    assert RateLimit().wait(10**12, 5.0) == 0.0
