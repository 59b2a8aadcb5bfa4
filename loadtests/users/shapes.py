"""How many users there are at each moment of a run."""

from __future__ import annotations

import math

STEPS = 5
SHAPES = ("steady", "steps", "spike", "ramp", "day")


def users_at(shape: str, at: float, duration: float, peak: int) -> int | None:
    """The number of users ``at`` seconds after the start; None when the run is over.

    "steps" are five equal ones. "spike" is the peak for a fifth of the time, and a quarter of it
    before and after. "day" goes from a quiet night to the peak at noon and back.
    """
    if at >= duration:
        return None
    share = max(at, 0.0) / duration
    match shape:
        case "steady":
            height = 1.0
        case "steps":
            height = (math.floor(share * STEPS) + 1) / STEPS
        case "spike":
            height = 1.0 if 0.4 <= share < 0.6 else 0.25
        case "ramp":
            height = share
        case "day":
            height = (1 - math.cos(2 * math.pi * share)) / 2
        case _:
            raise ValueError(f"no load shape is called {shape!r}: take one of {SHAPES}")
    return max(1, math.ceil(height * peak))
