"""Whatever happens around a sequence, it is as if it ran alone, token for token.

Arrivals, lengths, cancellations, stops, several answers, seeds, drafts, log-probabilities, cached
beginnings, preemptions and runs that fail, all drawn at random, on a model of float32. ``conftest``
checks after every step that the engine is consistent, and at the end that nothing is left.
"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import SamplingParams, Text, Work
from tests.examples import examples
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import CONTEXT, SLOTS, codec, drain, engine_over, session, step, text, words

pytestmark = pytest.mark.usefixtures("every_draft")

LAST_STEP = 14  # at which something arrives or is aborted
SHARED = words(70, 99)

# Of each answer: text, finish reason, the tokens that have log-probabilities, and those of
# the prompt.
Answers = list[tuple[str, FinishReason | None, bytes, bytes]]


@cache
def work(kind: int) -> Work:
    """One of sixty different requests."""
    prompt = words(3 + 7 * kind % 50, kind)
    if kind % 3 == 0:
        prompt = SHARED + prompt
    options: dict[str, object] = {"temperature": 0, "max_tokens": 2 + kind % 11}
    if kind % 4 == 1:  # its own text over and over: text for drafts
        options |= {"logit_bias": {token: 60.0 for token in codec().encode("ab")}}
        options |= {"max_tokens": 24}
    if kind % 5 == 2:
        options |= {"temperature": 0.7, "seed": kind, "top_p": 0.9, "frequency_penalty": 0.5}
    if kind % 7 == 3:
        whole = alone(kind + 60)[0][0]
        options |= {"stop": (whole[2:4],)}
    if kind % 6 == 5:
        options |= {"logprobs": 2}
    params = SamplingParams(ignore_eos=True, **options)  # type: ignore[arg-type]
    answers = 3 if kind % 8 == 4 else 1
    return Work(Text(prompt), params, answers=answers, prompt_logprobs=kind % 12 == 5)


@cache
def alone(kind: int) -> Answers:
    model = session()
    model.verifies_drafts = work(kind).prompt_logprobs  # so there are no drafts
    backend = engine_over(model)
    backend.add("r", work(kind))
    return answers(drain(backend)["r"], work(kind).answers)


def answers(outputs: list[Output], count: int) -> Answers:
    found: Answers = []
    for index in range(count):
        of_it = [output for output in outputs if output.index == index]
        ends = [output.finish_reason for output in of_it if output.finish_reason]
        assert len(ends) <= 1
        entries = b"".join(entry.token for output in of_it for entry in output.logprobs)
        prompt = b"".join(entry.token for output in of_it for entry in output.prompt_logprobs)
        found.append((text(of_it), ends[0] if ends else None, entries, prompt))
    return found


@st.composite
def events(draw: st.DrawFn) -> list[tuple[int, int, int | None]]:
    """(kind of request, step of arrival, step of abort or None) of some requests."""
    steps = st.integers(0, LAST_STEP)
    aborted = st.none() | st.none() | steps
    request = st.tuples(st.integers(0, 59), steps, aborted)
    return draw(st.lists(request, min_size=1, max_size=9))


@pytest.mark.slow
@settings(max_examples=examples(30), deadline=None)
@given(
    requests=events(),
    positions=st.sampled_from([CONTEXT, CONTEXT + 90, 10**9]),
    failures=st.sets(st.integers(0, 30), max_size=2),
)
def test_every_sequence_is_as_if_it_ran_alone(requests, positions, failures):
    runs = iter(range(10**6))
    # A run of one sequence may fail only once, or the sequence is held to be guilty.
    model = FaultySession(fails=lambda rows: next(runs) in failures and len(rows) > 1)
    backend = engine_over(model, positions)
    made: dict[str, list[Output]] = {str(number): [] for number in range(len(requests))}
    gone: set[str] = set()
    at = 0
    while at <= LAST_STEP or backend.busy:
        for number, (kind, start, aborted) in enumerate(requests):
            if start == at:
                backend.add(str(number), work(kind))
            if aborted == at:
                backend.abort(str(number))
                gone |= {str(number)} if aborted >= start else set()
        for output in backend.step():
            assert isinstance(output, Output)
            assert output.request_id not in gone
            made[output.request_id].append(output)
        assert backend.slots.committed <= positions
        at += 1
    for number, (kind, start, aborted) in enumerate(requests):
        outputs, expected = made[str(number)], alone(kind)
        found = answers(outputs, work(kind).answers)
        if aborted is None or aborted < start or (outputs and outputs[-1].last):
            assert found == expected
            assert [output.last for output in outputs].count(True) == 1
        else:
            assert all(e[0].startswith(f[0]) for f, e in zip(found, expected, strict=True))


@pytest.mark.slow
def test_the_requests_above_are_of_all_kinds():
    """They have drafts, stop, differ and share: else the test above would show little."""
    backend = engine_over(session())
    made: dict[int, Usage] = {}
    for kind in range(60):
        backend.add(str(kind), work(kind))
    while backend.busy:
        for output in step(backend):
            if output.last:
                made[int(output.request_id)] = output.usage
    assert sum(usage.accepted_prediction_tokens for usage in made.values()) > 20
    assert sum(usage.cached_tokens > 60 for usage in made.values()) > 10
    each = [answer for kind in range(60) for answer in alone(kind)]
    assert {FinishReason.STOP, FinishReason.LENGTH} <= {reason for _, reason, _, _ in each}
    assert sum(bool(entries) for _, _, entries, _ in each) > 5
    assert sum(bool(prompt) for _, _, _, prompt in each) > 3
    assert SLOTS < 60
