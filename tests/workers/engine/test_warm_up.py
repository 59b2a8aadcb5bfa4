"""What an engine does before its first request: it changes nothing but the speed."""

from __future__ import annotations

from cupola.workers.engine.engine import Engine
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import CONTEXT, SLOTS, alone, drain, engine_over, greedy, text, words


def warm(backend: Engine) -> int:
    """Do all pieces; how many there were."""
    pieces = 0
    while backend.warm_up():
        assert not backend.violations()
        pieces += 1
    return pieces


def test_memory_is_touched_and_steps_of_many_sizes_are_run_once():
    model = FaultySession()
    backend = engine_over(model)
    assert warm(backend) > 0
    assert backend.slots.committed == SLOTS * CONTEXT
    assert {len(rows) for rows in model.runs} == {1, 2, SLOTS}
    before = len(model.runs)
    assert not backend.warm_up()
    assert len(model.runs) == before
    backend.add("r", greedy(words(90, 1), 8, ignore_eos=True))
    made = drain(backend)["r"]
    assert text(made) == alone(words(90, 1), 8)
    assert made[-1].usage.cached_tokens == 0


def test_a_setting_leaves_it_out():
    model = FaultySession()
    backend = engine_over(model, warms_up=False)
    assert warm(backend) == 0
    assert model.runs == []


def test_a_request_that_comes_first_is_served_and_nothing_is_run_over_it():
    model = FaultySession()
    backend = engine_over(model)
    for _ in range(3):
        assert backend.warm_up()
    backend.add("r", greedy(words(90, 1), 8, ignore_eos=True))
    while backend.busy:
        assert not backend.running or not backend.warm_up()
        backend.step()
    (held,) = [slot.index for slot in backend.slots.table.slots if slot.length]
    before = len(model.runs)
    warm(backend)
    assert len(model.runs) > before
    assert held not in {row.slot for rows in model.runs[before:] for row in rows}
    backend.add("again", greedy(words(90, 1), 8, ignore_eos=True))
    made = drain(backend)["again"]
    assert text(made) == alone(words(90, 1), 8)
    assert made[-1].usage.cached_tokens == 89


def test_little_memory_is_not_filled():
    backend = engine_over(FaultySession(), CONTEXT)
    warm(backend)
    assert backend.slots.committed <= CONTEXT // 2


def test_it_waits_for_what_is_built_in_the_background():
    model = FaultySession()
    model.built = False
    backend = engine_over(model)
    assert not backend.warm_up()
    assert not model.runs
    model.built = True
    assert backend.warm_up()


def test_a_run_that_fails_ends_it_and_harms_nobody():
    model = FaultySession(fails=lambda rows: len(rows) == 2 and rows[0].past > 0)
    backend = engine_over(model)
    warm(backend)
    assert model.rebuilt == 1
    model.fails = lambda rows: False
    backend.add("r", greedy(words(90, 1), 8, ignore_eos=True))
    assert text(drain(backend)["r"]) == alone(words(90, 1), 8)
