"""Runs that fail and logits that are no numbers: who is guilty ends, the others do not notice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.messages import ErrorCode, Rejected
from cupola.scheduler.protocol.outputs import FinishReason, Output
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind, SamplingParams, Text, Work
from cupola.workers.engine.answer import Answer
from cupola.workers.engine.recovery import MAX_UNEXPLAINED, Recovery
from cupola.workers.model.model_folder import ModelFolderError
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.genai_session import GenaiSession
from cupola.workers.run.packing import Row
from tests.examples import examples
from tests.workers.faulty_session import FaultySession
from tests.workers.reference import DATA
from tests.workers.tiny import (
    BUDGET,
    NAME,
    SLOTS,
    alone,
    codec,
    drain,
    drain_waiting,
    engine_over,
    folder,
    greedy,
    session,
    text,
    words,
)

BAD = codec().encode("#")[0]  # a token that no other prompt or answer here has


def reads_bad(rows: Sequence[Row]) -> bool:
    return any(BAD in row.tokens for row in rows)


# -- who is guilty, without an engine --------------------------------------------------------------


@given(st.integers(1, 12), st.data())
def test_the_guilty_are_found_and_nobody_else(count: int, data: st.DataObject):
    names = [f"s{number}" for number in range(count)]
    bad = data.draw(st.sets(st.sampled_from(names)))
    recovery: Recovery[str] = Recovery()
    left, found, runs = list(names), set(), 0
    while True:
        runs += 1
        run = [name for name in left if recovery.admits(name)]
        if bad & set(run):
            guilty = recovery.failed((name, 5) for name in left)
            if guilty is not None:
                left.remove(guilty)
                found.add(guilty)
        else:
            recovery.passed(lambda name: 5)
            if run == left:
                break
    assert found == bad
    assert not recovery.hopeless
    assert runs <= count + 2 + len(bad)


def test_a_suspect_runs_alone_until_it_is_past_its_mark():
    recovery: Recovery[str] = Recovery()
    assert recovery.failed([("old", 30), ("young", 10)]) is None
    assert (recovery.admits("young"), recovery.admits("old")) == (True, False)
    assert recovery.passed({"young": 9}.__getitem__) is None
    assert recovery.passed({"young": 10}.__getitem__) == "young"
    assert recovery.admits("old")
    recovery.forget("old")
    assert recovery.admits("young") and recovery.suspect is None


def test_failures_that_nobody_repeats_alone_come_to_an_end():
    recovery: Recovery[str] = Recovery()
    for _ in range(MAX_UNEXPLAINED + 1):
        assert not recovery.hopeless
        recovery.failed([("a", 1), ("b", 1)])
        for _ in "ab":
            recovery.passed(lambda name: 1)
    assert recovery.hopeless


# -- in the engine ---------------------------------------------------------------------------------


def test_who_makes_a_run_fail_ends_and_the_others_are_run_again():
    model = FaultySession(fails=reads_bad)
    backend = engine_over(model)
    for number in range(3):
        backend.add(str(number), greedy(words(20, number), 12, ignore_eos=True))
    outputs_before = [backend.step() for _ in range(5)]  # some have begun to answer
    backend.add("bad", greedy(words(30, 9) + "#", 5))
    backend.add("later", greedy(words(25, 4), 12, ignore_eos=True))
    made = drain(backend)
    (rejected,) = made.pop("bad")
    assert isinstance(rejected, Rejected)
    assert rejected.code is ErrorCode.INTERNAL
    assert model.rebuilt == 2  # once to find out, once for the guilty
    for output in [output for outputs in outputs_before for output in outputs][::-1]:
        made[output.request_id].insert(0, output)
    for number, name in enumerate(["0", "1", "2"]):
        assert text(made[name]) == alone(words(20, number), 12)
        assert made[name][-1].usage.completion_tokens == 12
    assert text(made["later"]) == alone(words(25, 4), 12)


def test_a_real_refusal_of_onnxruntime_costs_its_own_request_only():
    """A token that is not in the embedding's table, behind the back of the admission."""
    backend = engine_over(session())
    for number in range(3):
        backend.add(str(number), greedy(words(20, number), 8, ignore_eos=True))
    backend.waiting[1].tokens[10] = 10**6
    made = drain(backend)
    (rejected,) = made["1"]
    assert isinstance(rejected, Rejected)
    for number in (0, 2):
        assert text(made[str(number)]) == alone(words(20, number), 8)


def test_a_failure_that_does_not_come_back_costs_nobody_anything():
    once = iter([False] * 4 + [True])
    model = FaultySession(fails=lambda rows: next(once, False))
    backend = engine_over(model)
    seeded = SamplingParams(temperature=1.5, seed=3, max_tokens=9, ignore_eos=True)
    work = Work(Text(words(20, 1)), seeded)
    backend.add("r", work)
    backend.add("other", greedy(words(40, 2), 9, ignore_eos=True))
    made = drain(backend)
    assert model.rebuilt == 1
    assert text(made["other"]) == alone(words(40, 2), 9)
    backend.add("again", work)
    assert text(drain(backend)["again"]) == text(made["r"])


def test_one_of_several_answers_that_fails_ends_its_request():
    model = FaultySession(fails=lambda rows: len(model.runs) == 9 or reads_bad(rows))
    backend = engine_over(model)
    params = SamplingParams(temperature=1.5, seed=3, max_tokens=30, ignore_eos=True)
    forced = SamplingParams(temperature=0, max_tokens=30, logit_bias={BAD: 100.0})
    backend.add("fine", Work(Text(words(20, 1)), params, answers=2))
    backend.add("bad", Work(Text(words(20, 2)), forced, answers=2))
    made = drain(backend)
    assert isinstance(made["bad"][-1], Rejected)
    assert made["fine"][-1].usage.completion_tokens == 60


def test_masks_of_a_failed_run_are_not_taken_for_those_of_the_next():
    once = iter([False, True])
    backend = engine_over(FaultySession(fails=lambda rows: next(once, False)))
    for number, source in enumerate(["(yes|no){4}", "[0-9]{12}"]):
        constraint = Constraint(ConstraintKind.REGEX, source)
        params = SamplingParams(temperature=1.0, seed=number, max_tokens=40)
        backend.add(source, Work(Text(words(10, number)), params, constraint=constraint))
    made = drain_waiting(backend)
    assert set(text(made["[0-9]{12}"])) <= set("0123456789")
    assert set(text(made["(yes|no){4}"])) <= set("yesno")


def test_a_prompt_that_is_read_again_tells_its_logprobs_once():
    once = iter([False, True])
    backend = engine_over(FaultySession(fails=lambda rows: next(once, False)))
    params = SamplingParams(temperature=0, max_tokens=1, logprobs=0, ignore_eos=True)
    backend.add("r", Work(Text(words(50, 1)), params, prompt_logprobs=True))
    entries = drain(backend)["r"][0].prompt_logprobs
    assert b"".join(entry.token for entry in entries).decode() == words(50, 1)


def test_onnxruntime_genai_starts_over_too():
    model = GenaiSession(folder(), slots=2)
    backend = engine_over(model)
    backend.add("bad", greedy(words(20, 1), 8, ignore_eos=True))
    backend.add("fine", greedy(words(20, 2), 8, ignore_eos=True))
    backend.waiting[0].tokens[10] = 10**6
    made = drain(backend)
    assert isinstance(made["bad"][0], Rejected)
    assert text(made["fine"]) == alone(words(20, 2), 8)


def test_a_suspect_may_be_aborted():
    model = FaultySession(fails=reads_bad)
    backend = engine_over(model)
    backend.add("0", greedy(words(20, 1), 5, ignore_eos=True))
    backend.add("bad", greedy("#", 5))
    assert backend.step() == []
    assert model.rebuilt == 1
    backend.abort("bad")
    assert text(drain(backend)["0"]) == alone(words(20, 1), 5)
    assert model.rebuilt == 1


def test_the_engine_is_lost_when_the_session_cannot_be_built_again():
    class Broken(FaultySession):
        def rebuild(self) -> None:
            raise ModelFolderError("model.onnx is gone")

    backend = engine_over(Broken(fails=reads_bad))
    backend.add("r", greedy("#", 5))
    with pytest.raises(ModelFolderError):
        backend.step()
    backend.abort("r")


def test_the_engine_is_lost_when_all_pass_alone_and_fail_together():
    backend = engine_over(FaultySession(fails=lambda rows: len(rows) > 1))
    for number in range(2):
        backend.add(str(number), greedy(words(5, number), 50, ignore_eos=True))
    with pytest.raises(RuntimeError, match="told to fail"):
        drain(backend)
    for number in range(2):
        backend.abort(str(number))


@settings(max_examples=examples(15), deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 10)), min_size=1, max_size=7),
    failures=st.sets(st.integers(0, 25), max_size=4),
)
def test_whenever_runs_fail_every_answer_is_as_if_nothing_had_been(lengths, failures):
    # Never twice in a row: a failure that follows a sequence alone is its own.
    fails = {at for at in failures if at - 1 not in failures}
    rest = iter(range(10**6))
    model = FaultySession(fails=lambda rows: next(rest) in fails and len(rows) > 1)
    backend = engine_over(model)
    for number, (length, count) in enumerate(lengths):
        backend.add(str(number), greedy(words(length, number), count, ignore_eos=True))
    made = drain(backend)
    for number, (length, count) in enumerate(lengths):
        assert text(made[str(number)]) == alone(words(length, number), count)


def test_what_fails_while_its_output_is_made_costs_its_own_request_only(
    monkeypatch: pytest.MonkeyPatch,
):
    def refuse(token: int) -> str:
        raise ValueError("told to fail")

    backend = engine_over(session())
    backend.add("bad", greedy(words(20, 1), 9, ignore_eos=True))
    backend.add("fine", greedy(words(20, 2), 9, ignore_eos=True))
    bad = backend.waiting[0]
    assert isinstance(bad, Answer)
    monkeypatch.setattr(bad.detokenizer, "feed", refuse)
    made = drain(backend)
    cost, rejected = made["bad"]
    assert isinstance(cost, Output) and cost.finish_reason is FinishReason.ABORT
    assert isinstance(rejected, Rejected)
    assert text(made["fine"]) == alone(words(20, 2), 9)


# -- logits that are no numbers --------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_end_their_own_request_only(temperature: float):
    model = FaultySession(poisons=lambda row: BAD in row.tokens)
    backend = engine_over(model)
    params = SamplingParams(temperature=temperature, max_tokens=9)
    backend.add("0", greedy(words(20, 1), 9, ignore_eos=True))
    backend.add("bad", Work(Text(words(5, 9) + "#"), params, answers=2))
    made = drain(backend)
    (rejected,) = made["bad"]
    assert isinstance(rejected, Rejected)
    assert (rejected.code, "not numbers" in rejected.message) == (ErrorCode.INTERNAL, True)
    assert text(made["0"]) == alone(words(20, 1), 9)
    assert model.rebuilt == 0


def test_what_made_no_numbers_is_not_kept_as_cache():
    """Keys and values that are no numbers would spoil whoever begins alike."""
    poisoned = iter([True])
    model = FaultySession(poisons=lambda row: row.logits > 0 and next(poisoned, False))
    backend = engine_over(model)
    backend.add("bad", greedy(words(60, 1), 5, ignore_eos=True))
    assert isinstance(drain(backend)["bad"][0], Rejected)
    backend.add("r", greedy(words(60, 1), 5, ignore_eos=True))
    made = drain(backend)["r"]
    assert made[-1].usage.cached_tokens == 0
    assert text(made) == alone(words(60, 1), 5)


def test_a_model_that_yields_nan_for_one_token_serves_the_others(tmp_path: Path):
    """The weights themselves: the embedding of one token is no number, in a batch with others."""
    shutil.copytree(DATA / NAME, tmp_path / "model")
    spoil_embedding(tmp_path / "model", BAD)
    spoiled = replace(folder(), path=tmp_path / "model")
    backend = engine_over(DecoderSession(spoiled, slots=SLOTS, width=BUDGET, threads=1))
    for round_ in range(2):  # in the second the slots have been used
        for number in range(SLOTS):
            prompt = words(20, number) + ("#" if number == 1 else "") + words(20, 9)
            backend.add(str(number), greedy(prompt, 6 + round_, ignore_eos=True))
        made = drain(backend)
        (rejected,) = made.pop("1")
        assert isinstance(rejected, Rejected)
        for number in (0, 2, 3):
            expected = alone(words(20, number) + words(20, 9), 6 + round_)
            assert text(made[str(number)]) == expected


def spoil_embedding(path: Path, token: int) -> None:
    model = onnx.load(str(path / "model.onnx"), load_external_data=False)
    (table,) = (t for t in model.graph.initializer if "embed_tokens" in t.name)
    at = {entry.key: entry.value for entry in table.external_data}
    row = table.dims[1] * 4
    with (path / at["location"]).open("r+b") as data:
        data.seek(int(at.get("offset", 0)) + token * row)
        data.write(np.full(table.dims[1], np.nan, np.float32).tobytes())
