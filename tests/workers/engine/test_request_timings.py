"""How long requests take and how far their prompts are read, as the engine tells it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from cupola.scheduler.protocol.outputs import Output, PromptProgress, Timings, Usage
from cupola.workers.engine.request_timings import RequestTimings
from cupola.workers.planning.plan import Step
from tests.workers.tiny import BUDGET, drain, engine, greedy, small_memory, step, words


def test_the_last_output_has_timings() -> None:
    backend = engine()
    backend.add("a", greedy(words(20, seed=1), 4))
    *before, last = drain(backend)["a"]
    assert all(output.timings is None and output.progress is None for output in before)
    assert last.timings is not None and last.timings.usage == last.usage
    assert last.timings.prompt_seconds > 0 and last.timings.generation_seconds > 0


def test_every_output_has_them_where_the_request_asks() -> None:
    backend = engine()
    backend.add("a", replace(greedy(words(20, seed=2), 24), timings=True))
    backend.add("b", greedy(words(20, seed=3), 24))
    made = drain(backend)
    timings = [output.timings for output in made["a"]]
    assert len(timings) > 2 and all(timings)
    assert len({one.prompt_seconds for one in timings}) == 1
    assert timings[0].generation_seconds == 0
    for one, following in pairwise(timings):
        assert one.generation_seconds < following.generation_seconds
        assert one.usage.completion_tokens < following.usage.completion_tokens
    *others, last = made["b"]
    assert last.timings is not None and all(output.timings is None for output in others)


def test_all_answers_of_a_request_are_timed_together() -> None:
    backend = engine()
    backend.add("a", replace(greedy(words(20, seed=4), 3), answers=2))
    outputs = drain(backend)["a"]
    assert [output.timings is not None for output in outputs].count(True) == 1
    assert outputs[-1].timings.usage.completion_tokens == 6


def test_the_prompt_is_told_of_once_a_step() -> None:
    backend = small_memory(10**9)
    prompt = words(3 * BUDGET, seed=5)
    backend.add("a", replace(greedy(prompt, 3), progress=True, answers=2))
    told: list[PromptProgress] = []
    later: list[Output] = []
    while backend.busy:
        outputs = step(backend)
        progress = [output for output in outputs if output.progress is not None]
        assert len(progress) <= 1 and not (progress and later)
        for output in progress:
            assert output == Output("a", progress=output.progress)
            told.append(output.progress)
        later += [output for output in outputs if output.progress is None]
    assert later[0].prompt_usage is not None
    assert len(told) >= 3
    assert {one.total for one in told} == {later[0].prompt_usage.prompt_tokens}
    assert told[-1].read == told[-1].total
    for one, following in pairwise(told):
        assert one.read < following.read and one.seconds < following.seconds


def test_what_was_cached_is_told() -> None:
    backend = small_memory(10**9)
    prompt = words(3 * BUDGET, seed=6)
    backend.add("a", greedy(prompt, 3))
    drain(backend)
    backend.add("b", replace(greedy(prompt, 3), progress=True))
    [told] = [output.progress for output in drain(backend)["b"] if output.progress is not None]
    assert told.read == told.total > told.cached > told.total - 4


def test_by_the_clock() -> None:
    """Time in the queue does not count, and a request that was aborted leaves nothing."""
    backend = engine()
    backend.add("a", replace(greedy(words(20, seed=7), 9), timings=True))
    step(backend)
    step(backend)
    [sequence] = backend.running
    steps = [Step(sequence, 1)]
    times = iter([10.0, 12.0, 13.0, 17.0, 20.0])
    timings = RequestTimings(lambda: next(times))
    usage = Usage(5, 1)

    def told(**fields: Any) -> Timings | None:
        [output] = timings.add_to([Output("a", **fields)], steps)
        return output.timings

    timings.begin(steps)  # at 10
    timings.begin(steps)  # the second run of a prompt in two pieces
    first, second = told(prompt_usage=usage), told()  # at 12, and at 13
    assert first is not None and second is not None
    assert (first.prompt_seconds, first.generation_seconds) == (2.0, 0.0)
    assert (second.prompt_seconds, second.generation_seconds) == (2.0, 1.0)
    assert told(usage=usage) == Timings(usage, 2.0, 5.0)  # at 17
    timings.forget("a")
    assert told(usage=usage) is None
    backend.abort("a")
