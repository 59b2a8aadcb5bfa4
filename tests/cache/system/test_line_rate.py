"""How many lines of one kind a log takes."""

from __future__ import annotations

from cupola.cache.system.line_rate import BURST, LINES_PER_SECOND, LineRate


def test_takes_many_at_once_and_fewer_in_the_long_run() -> None:
    rate = LineRate(0.0)
    assert sum(rate.takes(0.0) for _ in range(1000)) == BURST
    assert rate.is_full()
    assert sum(rate.takes(1.0) for _ in range(1000)) == LINES_PER_SECOND
    assert sum(rate.takes(1000.0) for _ in range(1000)) == BURST


def test_says_once_how_many_it_did_not_take() -> None:
    rate = LineRate(0.0)
    taken = sum(rate.takes(0.0) for _ in range(1000))
    assert rate.left_out() == f"{1000 - taken} lines like this were left out"
    assert rate.left_out() == ""
