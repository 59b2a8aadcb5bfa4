"""What an engine gives back when nobody uses it, and which requests take no place in it."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind, SamplingParams, Text, Work
from cupola.workers.engine.answer import Answer
from cupola.workers.engine.engine import Engine
from cupola.workers.grammar.constraints import Grammar
from tests.workers.tiny import CONTEXT, alone, drain, engine_over, greedy, session, text, words

PROMPTS = [words(CONTEXT // 2, number) for number in range(4)]


def used() -> Engine:
    backend = engine_over(session())
    for prompt in PROMPTS:
        backend.add("r", greedy(prompt, 3, ignore_eos=True))
        drain(backend)
    return backend


def cached(backend: Engine, prompt: str) -> int:
    """How many tokens of a prompt are still in the cache; its answer is right in any case."""
    backend.add("again", greedy(prompt, 3, ignore_eos=True))
    made = drain(backend)["again"]
    assert text(made) == alone(prompt, 3)
    usage = made[-1].usage
    assert usage is not None
    return int(usage.cached_tokens)


@pytest.mark.parametrize(("long", "most"), [(False, CONTEXT), (True, 0)])
def test_caches_are_given_back_but_for_the_newest(long: bool, most: int) -> None:
    backend = used()
    before = backend.slots.committed
    assert before > CONTEXT
    backend.rest(long=long)
    assert backend.slots.committed <= most
    assert (cached(backend, PROMPTS[-1]) > 0) == (not long)
    assert not backend.violations()


def test_the_oldest_prompt_goes_first() -> None:
    backend = used()
    backend.rest(long=False)
    assert cached(backend, PROMPTS[0]) < 8


def test_caches_whose_memory_stays_are_kept() -> None:
    backend = used()
    before = backend.slots.committed
    backend.session.cache.gives_back = False
    backend.rest(long=True)
    assert backend.slots.committed == before


def test_an_engine_that_works_does_not_rest() -> None:
    backend = engine_over(session())
    backend.add("r", greedy(PROMPTS[0], 5, ignore_eos=True))
    while not backend.running:
        backend.step()
    backend.rest(long=True)
    assert text(drain(backend)["r"]) == alone(PROMPTS[0], 5)
    assert not backend.violations()


@pytest.mark.slow
def test_grammars_are_forgotten_and_compiled_again() -> None:
    woken = threading.Event()
    backend = engine_over(session(), wake=woken.set)
    constraint = Constraint(ConstraintKind.REGEX, "[ab]{3}")
    for _ in range(2):
        backend.add("r", Work(Text("abc"), SamplingParams(max_tokens=9), constraint=constraint))
        while not backend.busy:
            assert woken.wait(60)
            woken.clear()
        assert set(text(drain(backend)["r"])) <= {"a", "b"}
        backend.rest(long=False)


def test_a_request_takes_no_place_until_its_grammar_is_ready() -> None:
    backend = engine_over(session())
    compiled: Future[Grammar] = Future()
    backend.add("late", greedy(words(9, 1), 5))
    (late,) = backend.waiting
    assert isinstance(late, Answer)
    late.grammar = compiled
    backend.add("r", greedy(words(9, 2), 5))
    assert backend.postponed == {"late"}
    drain(backend)
    assert backend.postponed == {"late"}
    backend.abort("late")
    assert backend.postponed == set()
    compiled.cancel()
