"""A request that is cancelled says nothing more and leaves nothing, whatever state it is in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import msgspec
import pytest

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind, SamplingParams, Text, Work
from cupola.workers.engine.engine import Engine
from cupola.workers.grammar.constraints import Grammar
from tests.workers.tiny import (
    BUDGET,
    CONTEXT,
    SLOTS,
    alone,
    codec,
    drain,
    engine_over,
    greedy,
    session,
    step,
    text,
    words,
)


@pytest.fixture
def backend() -> Engine:
    return engine_over(session())


@contextmanager
def cancelled(backend: Engine, request_id: str) -> Iterator[None]:
    """Cancel at the end of the block; a neighbour of before goes on as if alone."""
    backend.add("neighbour", greedy(words(30, 7), 20, ignore_eos=True))
    yield
    backend.abort(request_id)
    made = drain(backend)
    assert request_id not in made
    assert "neighbour" not in made or alone(words(30, 7), 20).endswith(text(made["neighbour"]))
    backend.abort(request_id)  # once more is no harm


def sequence(backend: Engine, request_id: str, index: int = 0):
    there = [*backend.running, *backend.waiting]
    return next(s for s in there if s.job.request_id == request_id and s.index == index)


def test_waiting_for_a_slot(backend: Engine):
    with cancelled(backend, "r"):
        for number in range(SLOTS):
            backend.add(str(number), greedy(words(9, number), 30, ignore_eos=True))
        backend.add("r", greedy(words(9, 50), 5))
        backend.step()
        assert sequence(backend, "r") in backend.waiting


def test_waiting_for_a_neighbour_to_compute_its_beginning(backend: Engine):
    with cancelled(backend, "r"):
        backend.add("first", greedy(words(90, 1), 3, ignore_eos=True))
        backend.add("r", greedy(words(90, 1), 3, ignore_eos=True))
        backend.step()
        assert sequence(backend, "r") in backend.waiting


def test_who_was_waited_for_is_cancelled(backend: Engine):
    backend.add("first", greedy(words(90, 1), 3, ignore_eos=True))
    backend.add("second", greedy(words(90, 1), 3, ignore_eos=True))
    backend.step()
    backend.abort("first")
    made = drain(backend)
    assert text(made["second"]) == alone(words(90, 1), 3)


def test_waiting_for_its_grammar(backend: Engine):
    compiled: Future[Grammar] = Future()
    with cancelled(backend, "r"):
        backend.add("r", greedy(words(9, 1), 5))
        sequence(backend, "r").grammar = compiled
        backend.step()
        assert sequence(backend, "r") in backend.waiting
    assert not backend.busy
    compiled.cancel()


def test_a_grammar_that_is_ready_after_its_request_has_gone_wakes_the_loop_and_no_more():
    woken = threading.Event()
    backend = engine_over(session(), wake=woken.set)
    params = SamplingParams(max_tokens=5)
    constraint = Constraint(ConstraintKind.REGEX, "[a-z]{20}")
    backend.add("r", Work(Text("abc"), params, constraint=constraint))
    backend.abort("r")
    assert woken.wait(60)
    assert not backend.busy
    assert backend.step() == []


def test_reading_its_prompt_in_chunks(backend: Engine):
    with cancelled(backend, "r"):
        backend.add("r", greedy(words(5 * BUDGET, 1), 5))
        backend.step()
        backend.step()
        assert sequence(backend, "r").reading
        assert 0 < sequence(backend, "r").cached < 5 * BUDGET


def test_what_a_cancelled_prompt_has_read_serves_the_next(backend: Engine):
    backend.add("r", greedy(words(5 * BUDGET, 1), 5))
    backend.step()
    backend.step()
    backend.abort("r")
    backend.add("again", greedy(words(5 * BUDGET, 1), 5, ignore_eos=True))
    made = drain(backend)["again"]
    assert made[-1].usage.cached_tokens == 2 * BUDGET
    assert text(made) == alone(words(5 * BUDGET, 1), 5)


def test_generating(backend: Engine):
    with cancelled(backend, "r"):
        backend.add("r", greedy(words(5, 1), 30, ignore_eos=True))
        for _ in range(6):
            backend.step()
        assert sequence(backend, "r").generated > 1


def test_drafting(backend: Engine):
    few = {token: 60.0 for token in codec().encode("ab")}
    params = SamplingParams(temperature=0, max_tokens=100, ignore_eos=True, logit_bias=few)
    with cancelled(backend, "r"):
        backend.add("r", Work(Text("abc"), params))
        while not sequence(backend, "r").job.accepted_tokens:
            backend.step()


def test_preempted():
    backend = engine_over(session(), CONTEXT)
    for number in range(2):
        backend.add(str(number), greedy(words(90, number), 60, ignore_eos=True))
    backend.step()
    youngest = sequence(backend, "1")
    while youngest in backend.running or not youngest.generated:
        backend.step()
    assert youngest in backend.waiting
    backend.abort("1")
    assert set(drain(backend)) == {"0"}


@pytest.mark.parametrize("steps", [1, 8])
def test_one_of_several_answers(backend: Engine, steps: int):
    """All of them go: some wait for the prompt, some read it, some generate."""
    work = Work(Text(words(40, 1)), SamplingParams(max_tokens=60, ignore_eos=True), answers=6)
    with cancelled(backend, "r"):
        backend.add("r", work)
        for _ in range(steps):
            backend.step()


def test_an_answer_that_has_ended_does_not_take_the_others_with_it(backend: Engine):
    """One of the answers meets its end token; the request is cancelled afterwards."""
    work = Work(Text(words(40, 1)), SamplingParams(max_tokens=20, ignore_eos=True), answers=2)
    backend.add("r", msgspec.structs.replace(work))
    backend.step()
    sequence(backend, "r", 0).max_tokens = 2
    ended = False
    while not ended:
        ended = any(o.finish_reason is not None for o in step(backend))
    assert sequence(backend, "r", 1) is not None
    backend.abort("r")
    assert not backend.busy


def test_in_the_step_in_which_another_ends(backend: Engine):
    backend.add("short", greedy(words(5, 1), 1, ignore_eos=True))
    backend.add("r", greedy(words(5, 2), 9, ignore_eos=True))
    (output, *_) = [o for o in step(backend) if o.last]
    assert output.request_id == "short"
    backend.abort("short")  # the client's end and ours cross on the way
    backend.abort("r")
    assert not backend.busy


def test_grammars_of_cancelled_requests_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cupola.workers.grammar.grammar_probe.PROBE_SECONDS", 600.0)
    woken = threading.Event()
    backend = engine_over(session(), wake=woken.set)
    params = SamplingParams(max_tokens=5)
    for number in range(6):  # each would be tried until it is given up
        source = "start: x\nx: " + "x x | " * 5_000 + f'"{number}"'
        slow = Constraint(ConstraintKind.LARK, source)
        backend.add(str(number), Work(Text("abc"), params, answers=2, constraint=slow))
    backend.add("r", Work(Text("abc"), params, constraint=Constraint(ConstraintKind.REGEX, "a+")))
    for number in range(6):
        backend.abort(str(number))
    while not backend.busy:
        assert woken.wait(60)
        woken.clear()
    assert set(drain(backend)) == {"r"}
