from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.planning.plan import plan
from tests.workers.planning.waiting import Waiting


def planned(pendings: list[int], budget: int, parallel_prompts: int = 1) -> list[tuple[str, int]]:
    running = [Waiting(f"s{number}", pending) for number, pending in enumerate(pendings)]
    return [(step.sequence.name, step.count) for step in plan(running, budget, parallel_prompts)]


def test_generating_sequences_go_first_then_prompts_the_shortest_first():
    assert planned([10, 1, 7, 1], budget=16) == [("s1", 1), ("s3", 1), ("s2", 7), ("s0", 7)]


def test_a_long_prompt_comes_in_chunks():
    assert planned([1000, 1], budget=64) == [("s1", 1), ("s0", 63)]


def test_short_prompts_share_a_run():
    assert planned([5, 6, 7], budget=64) == [("s0", 5), ("s1", 6), ("s2", 7)]


def test_nobody_who_generates_waits_for_the_budget():
    assert planned([1, 1, 1, 9], budget=2) == [("s0", 1), ("s1", 1), ("s2", 1)]


def test_prompts_parallel_prompts_have_the_same_share():
    assert planned([100, 1, 100, 100], 65, parallel_prompts=2) == [
        ("s1", 1),
        ("s0", 32),
        ("s2", 32),
    ]


def test_what_a_short_prompt_does_not_need_the_others_have():
    assert planned([100, 10, 100], 64, parallel_prompts=2) == [("s1", 10), ("s0", 54)]
    assert planned([20, 10, 100], 64, parallel_prompts=2) == [("s1", 10), ("s0", 20), ("s2", 34)]


@given(st.lists(st.integers(1, 300), max_size=20), st.integers(1, 256), st.integers(1, 4))
def test_the_budget_is_used_and_kept(pendings: list[int], budget: int, parallel_prompts: int):
    steps = planned(pendings, budget, parallel_prompts)
    total = sum(count for _, count in steps)
    generating = pendings.count(1)
    assert total <= max(budget, generating)
    assert total == min(sum(pendings), max(budget, generating))
    assert len({name for name, _ in steps}) == len(steps)


def test_what_may_wait_is_within_the_budget_even_with_one_token_left():
    answers = [Waiting(f"answer {n}", 1) for n in range(4)]
    questions = [Waiting(f"question {n}", 1, patient=True) for n in range(8)]
    steps = plan([*questions, *answers], 6)
    assert [step.sequence for step in steps[:4]] == answers
    assert len(steps) == 6
