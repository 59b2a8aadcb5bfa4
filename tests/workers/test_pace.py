from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cupola.workers.pace import Pace


def test_alone_a_prompt_takes_all_there_is():
    assert Pace(0.1, 256).budget(generating=0) == 256


def test_until_something_is_known_nothing_is_held_back():
    assert Pace(0.1, 256).budget(generating=4) == 256


def test_what_is_left_of_the_objective_goes_to_prompts():
    pace = Pace(0.1, 256)
    for _ in range(50):
        pace.observe(generating=8, prompt_tokens=0, seconds=0.04)
        pace.observe(generating=8, prompt_tokens=100, seconds=0.14)
    assert 8 + 55 <= pace.budget(generating=8) <= 8 + 60


def test_prompts_get_on_even_where_generating_alone_takes_too_long():
    pace = Pace(0.1, 256)
    pace.observe(generating=8, prompt_tokens=0, seconds=0.5)
    pace.observe(generating=8, prompt_tokens=100, seconds=1.0)
    assert pace.budget(generating=8) == 8 + 16


@example([(0, 16, 0.0)], 1)
@example([(0, 16, 0.0), (1, 0, 5.0)], 1)
@given(
    st.lists(st.tuples(st.integers(0, 32), st.integers(0, 256), st.floats(0, 10)), max_size=30),
    st.integers(0, 32),
)
def test_the_budget_is_always_within_its_bounds(steps, generating):
    pace = Pace(0.1, 256)
    for step in steps:
        pace.observe(*step)
    assert min(256, generating + 16) <= pace.budget(generating) <= 256


@given(st.floats(0.001, 0.05), st.floats(0.0001, 0.01))
def test_a_machine_of_any_speed_meets_the_objective_within_one_step(base, each):
    """Steps of the length that the budget allows take at most the objective, if any do."""
    pace = Pace(0.1, 256)
    worst = 0.0
    for step in range(60):
        prompts = pace.budget(generating=4) - 4
        seconds = base + each * prompts
        pace.observe(4, prompts, seconds)
        pace.observe(4, 0, base)
        if step > 40:
            worst = max(worst, seconds)
    assert worst <= max(0.1, base + 16 * each) * 1.05
