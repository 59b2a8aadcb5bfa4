"""Windows get on beside other models, and do not make their long turns longer."""

from __future__ import annotations

from collections.abc import Iterator

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


def test_turns_that_are_always_long_have_a_run_each() -> None:
    assert list(turns([0.09, 0.5] * 20, run=0.004))[:1] == [1]
    assert set(turns([0.09] * 50, run=0.004)) == {1}


def test_runs_that_are_longer_than_turns_get_their_share() -> None:
    made = list(turns([0.03] * 200, run=0.3))
    assert 5 <= sum(made) <= 20 and max(made) == 1


@given(st.lists(st.floats(0.005, 2), min_size=50, max_size=80), st.floats(1e-3, 0.5))
def test_windows_never_wait_for_ever(others: list[float], run: float) -> None:
    assert sum(turns([max(0.05, each) for each in others], run)) >= 2


@given(st.lists(st.floats(0.005, 0.03), min_size=1, max_size=50), st.floats(1e-4, 0.005))
def test_a_turn_with_a_prompt_is_not_made_longer(others: list[float], run: float) -> None:
    *_, made = turns([*others, 0.09], run)
    assert made == 0


@given(st.lists(st.floats(0.005, 0.06), min_size=1, max_size=50), st.floats(1e-4, 0.03))
def test_a_turn_within_the_objective_stays_so(others: list[float], run: float) -> None:
    for each, made in zip(others, turns(others, run), strict=True):
        assert each + made * run <= OBJECTIVE
