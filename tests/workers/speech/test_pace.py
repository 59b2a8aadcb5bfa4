"""Windows get on beside other models, and do not make their long turns longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.speech.pace import Pace

OBJECTIVE = 0.1


def turns(others: list[float], run: float) -> Iterator[int]:
    """The runs behind turns in which the others take so long."""
    pace = Pace(OBJECTIVE)
    pace.ran(run)
    for each in others:
        runs = pace.runs(each)
        pace.took(runs * run)
        yield runs


def test_without_others_each_turn_is_a_run() -> None:
    assert set(turns([0.0, 0.001, 0.004] * 9, run=0.3)) == {1}


def test_short_turns_have_runs() -> None:
    made = list(turns([0.03] * 100, run=0.004))
    assert max(made) <= 3 and 200 <= sum(made) <= 250


def test_a_turn_with_a_prompt_has_none_and_the_next_ones_make_up_for_it() -> None:
    made = list(turns([0.03, 0.08, 0.03, 0.03], run=0.004))
    assert made[1] == 0 and made[2] > made[0]


@pytest.mark.parametrize("run", [0.004, 0.3])
def test_turns_that_are_always_too_long_do_not_stop_the_windows(run: float) -> None:
    made = list(turns([0.5] * 200, run=run))
    assert sum(made) >= 50


@given(
    others=st.lists(st.floats(0.005, OBJECTIVE), min_size=1, max_size=3),
    run=st.floats(1e-3, 1),
)
def test_a_turn_within_the_objective_stays_so(others: list[float], run: float) -> None:
    """Three turns are too few for a share that is due at once."""
    for each, made in zip(others, turns(others, run), strict=True):
        assert each + made * run <= OBJECTIVE
