"""Drafts change nothing but the time: neither the answers nor how often each one comes."""

from __future__ import annotations

import re
from collections import Counter

import msgspec
import pytest

from cupola.scheduler.protocol.outputs import FinishReason
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind, SamplingParams, Text, Work
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import (
    LETTERS,
    SLOTS,
    codec,
    drain,
    drain_waiting,
    engine_over,
    text,
)

pytestmark = pytest.mark.usefixtures("every_draft")

FEW = {token: 60.0 for token in codec().encode("abc")}  # so that answers repeat themselves
READABLE = {token: 60.0 for token in codec().encode(LETTERS)}
PROMPT = "abcabcaabbccacbabc"  # anything that may follow has followed before
ANSWERS = 900
# 99.99th percentile of chi-square for the 27 answers of three letters.
BOUND = 61.9


def answers(model: FaultySession, first_seed: int) -> tuple[Counter[str], int, int]:
    """How often each answer came; draft tokens that were right and wrong."""
    backend = engine_over(model)
    found: Counter[str] = Counter()
    right = wrong = 0
    for batch in range(0, ANSWERS, SLOTS):
        for number in range(SLOTS):
            seed = first_seed + batch + number
            params = SamplingParams(
                temperature=3.0, seed=seed, max_tokens=3, ignore_eos=True, logit_bias=FEW
            )
            backend.add(str(number), Work(Text(PROMPT), params))
        for outputs in drain(backend).values():
            found[text(outputs)] += 1
            right += outputs[-1].usage.accepted_prediction_tokens
            wrong += outputs[-1].usage.rejected_prediction_tokens
    return found, right, wrong


@pytest.mark.slow
def test_sampled_answers_foundare_as_frequent_with_drafts_as_without():
    """Two-sample chi-square, each answer with a seed of its own."""
    plain = FaultySession()
    plain.verifies_drafts = False
    without, *none = answers(plain, 0)
    with_, right, wrong = answers(FaultySession(), 10**6)
    assert none == [0, 0]
    assert min(right, wrong) > 50
    assert len(without) > 9
    pairs = [(with_[answer], without[answer]) for answer in with_ | without]
    assert sum((one - other) ** 2 / (one + other) for one, other in pairs) < BOUND


@pytest.mark.parametrize("temperature", [0.0, 0.7, 3.0])
def test_a_prediction_is_drafted_from_and_counted_in_the_usage(temperature: float):
    params = SamplingParams(
        temperature=temperature, seed=1, max_tokens=60, ignore_eos=True, logit_bias=READABLE
    )
    work = Work(Text("a"), params)
    plain = FaultySession()
    plain.verifies_drafts = False
    backend = engine_over(plain)
    backend.add("r", work)
    expected = text(drain(backend)["r"])
    steps = {}
    for prediction in ("", expected):
        model = FaultySession()
        backend = engine_over(model)
        backend.add("r", msgspec.structs.replace(work, prediction=prediction))
        outputs = drain(backend)["r"]
        assert text(outputs) == expected
        usage = outputs[-1].usage
        drafted = sum(len(row.tokens) - 1 for (row,) in model.runs if row.past > 0)
        assert usage.accepted_prediction_tokens + usage.rejected_prediction_tokens == drafted
        # Each run makes one token and the draft tokens that are right.
        assert len(model.runs) == 60 - usage.accepted_prediction_tokens
        steps[prediction] = len(model.runs)
    assert steps[expected] <= steps[""]
    assert steps[expected] < 20


def test_a_wrong_prediction_costs_few_runs_and_no_token():
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, logit_bias=FEW)
    model = FaultySession()
    backend = engine_over(model)
    backend.add("r", Work(Text("a"), params, prediction="xyz" * 30))
    outputs = drain(backend)["r"]
    assert outputs[-1].usage.completion_tokens == 60


def test_a_stop_among_draft_tokens_ends_the_answer_there():
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, logit_bias=FEW)
    backend = engine_over(FaultySession())
    backend.add("r", Work(Text("a"), params))
    whole = text(drain(backend)["r"])
    stop = whole[33:40]
    backend.add("r", Work(Text("a"), msgspec.structs.replace(params, stop=(stop,))))
    outputs = drain(backend)["r"]
    assert text(outputs) == whole[: whole.index(stop)]
    assert outputs[-1].usage.completion_tokens == whole.index(stop) + len(stop)


def test_an_earlier_answer_is_drafted_from_for_the_same_tenant_only():
    params = SamplingParams(
        temperature=0.7, seed=1, max_tokens=60, ignore_eos=True, logit_bias=READABLE
    )
    model = FaultySession()
    backend = engine_over(model)
    runs, answers_found = [], []
    for tenant in ("a", "b", "a"):
        before = len(model.runs)
        backend.add("r", Work(Text("a"), params, cache_salt=tenant))
        answers_found.append(text(drain(backend)["r"]))
        runs.append(len(model.runs) - before)
    assert len(set(answers_found)) == 1
    assert runs[0] == runs[1] > 2 * runs[2]


HOT = pytest.param(3.0, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.7, HOT])
@pytest.mark.parametrize("source", ["(lighthouse|letterbox){4}", "[ab]{20}", "x{12}[a-c]{3}y{12}"])
def test_what_a_grammar_binds_is_the_same_with_drafts_as_without(temperature: float, source: str):
    params = SamplingParams(temperature=temperature, seed=1, max_tokens=60)
    work = Work(Text(PROMPT), params, constraint=Constraint(ConstraintKind.REGEX, source))
    found, runs = [], []
    for drafts in (False, True):
        model = FaultySession()
        model.verifies_drafts = drafts
        backend = engine_over(model)
        backend.add("r", work)
        outputs = drain_waiting(backend)["r"]
        assert outputs[-1].finish_reason is FinishReason.STOP
        found.append(text(outputs))
        runs.append(len(model.runs))
    without, with_ = found
    assert with_ == without
    assert re.fullmatch(source, without)
    assert runs[1] < runs[0]
