"""Who gets memory, who waits for it, and that nobody computes the same over and over."""

from __future__ import annotations

import pytest

from cupola.workers.engine.slot_allocation import HEADROOM
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import CONTEXT, alone, drain, engine_over, greedy, step, text, words


@pytest.mark.slow
def test_prompts_are_not_read_only_to_be_preempted():
    model = FaultySession()
    backend = engine_over(model, CONTEXT)
    for number in range(8):
        backend.add(str(number), greedy(words(80, number), 60, ignore_eos=True))
    made = drain(backend)
    for number in range(8):
        assert text(made[str(number)]) == alone(words(80, number), 60)
    assert model.tokens < 1.6 * 8 * (80 + 60)


def test_what_fits_together_runs_together_and_is_read_once():
    model = FaultySession()
    backend = engine_over(model, CONTEXT)
    length, count = 40, HEADROOM
    for number in range(6):
        backend.add(str(number), greedy(words(length, number), count, ignore_eos=True))
    made = drain(backend)
    usages = [made[str(number)][-1].usage for number in range(6)]
    other = sum(usage.rejected_prediction_tokens - usage.cached_tokens for usage in usages)
    assert model.tokens == 6 * (length + count - 1) + other
    assert max(map(len, model.runs)) == CONTEXT // (length + count)


def test_small_requests_do_not_pass_a_large_one_for_ever():
    backend = engine_over(FaultySession(), CONTEXT)
    backend.add("first", greedy(words(60, 0), 30, ignore_eos=True))
    backend.step()
    backend.add("large", greedy(words(200, 1), 2, ignore_eos=True))
    for number in range(6):
        backend.add(f"small{number}", greedy(words(20, 2 + number), 2, ignore_eos=True))
    ends = []
    while backend.busy:
        ends += [output.request_id for output in step(backend) if output.last]
    assert ends[0] == "first"  # short ones would have ended long before it
    assert len(ends) == 8


def test_what_others_have_left_in_the_cache_goes_first():
    model = FaultySession()
    backend = engine_over(model, CONTEXT)
    for number in range(3):
        backend.add(str(number), greedy(words(80, number), 1, ignore_eos=True))
        drain(backend)
    backend.add("r", greedy(words(200, 9), 20, ignore_eos=True))
    assert text(drain(backend)["r"]) == alone(words(200, 9), 20)
    assert backend.slots.committed <= CONTEXT
    assert max(map(len, model.runs)) == 1
