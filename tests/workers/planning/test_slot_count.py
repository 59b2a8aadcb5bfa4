"""How many sequences run at once, on machines of every speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.engine.engine import Engine
from cupola.workers.planning.slot_count import FIRST, MOST, SlotCount
from cupola.workers.planning.step_budget import StepBudget
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import SLOTS, codec, drain, folder, greedy, words

OBJECTIVE = 0.1
base = st.floats(0.0001, 0.2)
each = st.floats(0.00001, 0.02)


def settle(count: SlotCount, base: float, each: float, clients: int = 1000) -> int:
    """Run steps of a machine that takes ``base`` and ``each`` for every sequence."""
    for _ in range(1500):
        running = min(clients, count.now)
        count.observe(running, 0, base + each * running)
    return count.now


@given(base, each)
def test_as_many_run_as_keep_the_pace(base: float, each: float):
    count = settle(SlotCount(0, OBJECTIVE), base, each)
    assert FIRST <= count <= MOST
    assert count == FIRST or base + each * count <= OBJECTIVE
    # And no fewer than keep it easily.
    if count < MOST:
        assert base + each * (count + 1) > OBJECTIVE * 0.65


@given(base, each, st.integers(1, 2 * MOST))
def test_a_number_of_the_operator_stays(base: float, each: float, wanted: int):
    count = SlotCount(wanted, OBJECTIVE)
    assert settle(count, base, each) == count.now == count.most == wanted


def test_few_clients_change_nothing():
    count = SlotCount(0, OBJECTIVE)
    before = settle(count, 0.01, 0.0005)
    assert before > FIRST
    assert settle(count, 0.5, 0.5, clients=before // 2) == before


def test_a_machine_that_becomes_slower_runs_fewer():
    count = SlotCount(0, OBJECTIVE)
    fast = settle(count, 0.01, 0.0005)
    assert settle(count, 0.02, 0.001) < fast


def test_memory_for_few_is_a_limit():
    assert SlotCount(0, OBJECTIVE, most=4).now == 4
    assert settle(SlotCount(0, OBJECTIVE, most=40), 0.001, 0.0001) == 40
    assert settle(SlotCount(0, OBJECTIVE, most=4), 0.001, 0.0001) == 4


@pytest.mark.parametrize(("prompt_tokens", "counts"), [(0, True), (12, True), (500, False)])
def test_prompts_beside_do_not_make_a_step_look_slow(prompt_tokens: int, counts: bool):
    """Nor does a step that is mostly a prompt count."""
    count = SlotCount(0, OBJECTIVE)
    token = 0.001
    for _ in range(100):
        count.observe(count.now, prompt_tokens, token * (12 + count.now + prompt_tokens))
    assert (count.now > FIRST) == counts


def test_one_slow_step_changes_nothing():
    count = SlotCount(0, OBJECTIVE)
    before = settle(count, 0.01, 0.0005)
    count.observe(before, 0, 10.0)
    assert settle(count, 0.01, 0.0005) == before


def test_the_engine_uses_so_many_slots_and_the_first_ones():
    model = FaultySession()
    count = SlotCount(0, 1000.0, most=SLOTS)
    count.now = 2
    engine = Engine(folder(), codec(), model, StepBudget(1.0, 64), 10**9, slot_count=count)
    for number in range(3 * SLOTS):
        engine.add(str(number), greedy(words(9, number), 12, ignore_eos=True))
    assert engine.capacity == 2
    drain(engine)
    assert [len(rows) for rows in model.runs[:8]] == [2] * 8
    assert max(row.slot for rows in model.runs[:8] for row in rows) == 1
    assert engine.capacity == max(len(rows) for rows in model.runs) == SLOTS
