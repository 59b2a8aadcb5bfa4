"""How many requests a key may send. The time is given, so nothing waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.system.api_keys import ApiKey
from cupola.gateway.access.rate_limits import MINUTE, RateLimits


def test_a_minute_has_so_many_requests() -> None:
    limits, key = RateLimits(), ApiKey("one", "", per_minute=3)
    for _ in range(3):
        assert limits.begin(key, 0.0) is None
    excess = limits.begin(key, 0.0)
    assert excess is not None and excess.retry_after == "20"
    assert limits.begin(key, 20.0) is None
    assert limits.begin(key, 20.0) is not None


def test_open_requests_are_counted_until_they_end() -> None:
    limits, key = RateLimits(), ApiKey("one", "", at_once=2)
    assert limits.begin(key, 0.0) is None
    assert limits.begin(key, 0.0) is None
    assert limits.begin(key, 0.0) is not None
    limits.end(key)
    assert limits.begin(key, 0.0) is None


def test_keys_do_not_share_their_limits() -> None:
    limits = RateLimits()
    for name in ("one", "two"):
        assert limits.begin(ApiKey(name, "", per_minute=1), 0.0) is None


def test_gateways_have_equal_shares() -> None:
    limits, key = RateLimits(gateways=4), ApiKey("one", "", per_minute=8)
    assert [limits.begin(key, 0.0) is None for _ in range(3)] == [True, True, False]


@given(
    st.integers(1, 100),
    st.lists(st.floats(0, 10, allow_nan=False), max_size=200),
)
def test_no_window_of_a_minute_has_twice_the_limit(most: int, pauses: list[float]) -> None:
    limits, key = RateLimits(), ApiKey("one", "", per_minute=most)
    now, served = 0.0, list[float]()
    for pause in pauses:
        now += pause
        excess = limits.begin(key, now)
        if excess is None:
            served.append(now)
        else:
            assert limits.begin(key, now + excess.seconds + 1e-6) is None  # as it was told
            served.append(now := now + excess.seconds + 1e-6)
    for start in served:
        assert sum(start <= at < start + MINUTE for at in served) <= 2 * most
