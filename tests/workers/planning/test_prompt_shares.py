"""How a step's tokens are divided among prompts of several clients."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.planning.prompt_shares import LEAST_SHARE, OLDEST, shares
from tests.workers.planning.waiting import Waiting

Prompt = tuple[int, str, int]  # tokens, client, class


def divided(
    prompts: list[Prompt],
    budget: int,
    parallel: int = 1,
    served: Mapping[str, float] | None = None,
) -> dict[str, int]:
    waiting = [Waiting(f"s{n}", *prompt) for n, prompt in enumerate(prompts)]
    of = dict(served or {})
    parts = shares(waiting, budget, parallel, lambda client: of.get(client, 0.0))
    return {prompt.name: count for prompt, count in parts}


def test_a_short_prompt_does_not_wait_for_the_long_ones_of_another_client():
    flood: list[Prompt] = [(3000, "flood", 0)] * 8
    assert divided([*flood, (20, "lone", 0)], 256)["s8"] == 20


def test_nor_for_the_long_ones_of_its_own_client():
    flood: list[Prompt] = [(3000, "one", 0)] * 8
    assert divided([*flood, (20, "one", 0)], 256) == {"s8": 20, "s0": 236}


def test_a_small_prompt_is_not_halved_so_that_two_are_read_side_by_side():
    prompts: list[Prompt] = [(3000, "one", 0), (60, "one", 0)]
    assert divided(prompts, 69, parallel=2) == {"s1": 60, "s0": 9}
    assert divided([(3000, "one", 0), (200, "one", 0)], 256, parallel=2) == {"s1": 128, "s0": 128}


def test_clients_have_equal_shares_and_what_one_does_not_need_the_others_have():
    assert divided([(900, "a", 0), (900, "b", 0)], 256) == {"s0": 128, "s1": 128}
    assert divided([(900, "a", 0), (900, "a", 0), (900, "b", 0), (16, "c", 0)], 256) == {
        "s3": 16,
        "s0": 120,
        "s2": 120,
    }


def test_more_clients_than_shares_take_turns_by_what_they_were_served():
    many: list[Prompt] = [(900, f"c{n}", 0) for n in range(6)]
    first = divided(many, 2 * LEAST_SHARE, served={"c1": 5, "c2": 5, "c4": 5, "c5": 5, "c0": 5})
    assert first["s3"] == max(first.values())
    assert set(first) == {"s0", "s3"} or set(first) == {"s0", "s3", "s1"}


def test_a_lower_class_takes_what_it_needs_but_for_the_part_of_the_oldest():
    urgent: list[Prompt] = [(900, "chat", 0)] * 3
    assert divided([(900, "batch", 4), *urgent], 160) == {"s1": 140, "s0": 20}


def after(prompts: list[Waiting], budget: int, served: Mapping[str, float]) -> dict[str, int]:
    parts = shares(prompts, budget, 1, lambda client: served.get(client, 0.0))
    return {prompt.name: count for prompt, count in parts}


def test_a_prompt_does_not_wait_for_questions_of_its_client_which_are_shorter():
    questions = [Waiting(f"q{n}", 12, patient=True) for n in range(9)]
    assert after([*questions, Waiting("chat", 100)], 16, {}) == {"q0": 2, "chat": 14}
    assert after([Waiting("chat", 10), *questions], 24, {}) == {"chat": 10, "q0": 12, "q1": 2}


def test_a_client_whose_question_is_short_may_need_much():
    prompts = [Waiting("q", 12, "decides", patient=True), Waiting("chat", 900, "chats")]
    assert after(prompts, 16, {"decides": 1}) == {"q": 2, "chat": 14}
    assert after(prompts, 16, {"chats": 1}) == {"q": 12, "chat": 4}


@given(
    st.lists(
        st.tuples(st.integers(2, 400), st.sampled_from("abcdefghijk"), st.integers(0, 3)),
        max_size=18,
    ),
    st.integers(0, 300),
    st.integers(1, 3),
    st.dictionaries(st.sampled_from("abcdefghijk"), st.integers(0, 9)),
)
def test_the_budget_is_used_and_kept_and_the_oldest_gets_on(prompts, budget, parallel, served):
    parts = divided(prompts, budget, parallel, served)
    assert sum(parts.values()) == min(budget, sum(tokens for tokens, _, _ in prompts))
    assert all(0 < parts[name] <= prompts[int(name[1:])][0] for name in parts)
    if prompts and budget:
        assert parts["s0"] >= min(prompts[0][0], budget // OLDEST)
