"""Distributions that the scheduler counts, as Prometheus has them. Pure data."""

from __future__ import annotations

import msgspec

# Upper bounds of the buckets. Those of the times, in seconds, are vLLM's.
TO_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0,
)  # fmt: skip
BETWEEN_TOKENS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
WHOLE_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0,
)  # fmt: skip
REQUESTS_OF_A_STEP = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TURNS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)


class Histogram(msgspec.Struct, frozen=True, omit_defaults=True):
    """``counts``: of each bucket by itself; the last is of what lies above all bounds."""

    counts: tuple[int, ...] = ()
    total: float = 0.0  # of all values


class Distributions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was measured since the scheduler started."""

    to_first_token: Histogram = Histogram()  # from a request's arrival in the scheduler
    between_tokens: Histogram = Histogram()
    whole_request: Histogram = Histogram()
    requests_of_a_step: Histogram = Histogram()
    turns: Histogram = Histogram()  # of the scheduler's loop


BOUNDS: dict[str, tuple[float, ...]] = {
    "to_first_token": TO_FIRST_TOKEN,
    "between_tokens": BETWEEN_TOKENS,
    "whole_request": WHOLE_REQUEST,
    "requests_of_a_step": REQUESTS_OF_A_STEP,
    "turns": TURNS,
}
