"""Models that the batching engine cannot run: what works through onnxruntime-genai."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import msgspec
import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.tasks import (
    Constraint,
    ConstraintKind,
    LocalModel,
    SamplingParams,
    Text,
    Tokens,
    Work,
)
from cupola.workers.engine.engine import Engine
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import RequestError
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.genai_session import GenaiSession
from tests.workers.reference import DATA
from tests.workers.run.genai_reference import greedy_answer
from tests.workers.tiny import (
    BUDGET,
    codec,
    decode,
    drain,
    drain_waiting,
    engine_over,
    folder,
    greedy,
    text,
    words,
)

PLAIN = "plain-fp32"  # MultiHeadAttention, which reads several tokens at the beginning only
GROUPED = "builder-fp32"  # any model does, if the setting says genai
WINDOWED = "mistral-fp32"  # forgets what lies before its windows
NAMES = (PLAIN, GROUPED, WINDOWED)


@cache
def engine(name: str) -> Engine:
    """Two slots; all models have one tokenizer."""
    session = GenaiSession(ModelFolder.read(DATA / name), slots=2, threads=1, why="of the test")
    return engine_over(session, of=folder())


def expected(name: str, tokens: list[int], count: int) -> str:
    return decode(greedy_answer(name, tuple(tokens), count).tokens)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_runtime_however_many_wait(name: str):
    backend = engine(name)
    prompts = [words(20 + 15 * number, number) for number in range(4)]
    for number, prompt in enumerate(prompts):
        backend.add(str(number), greedy(prompt, 12, ignore_eos=True))
    backend.add("gone", greedy(words(20, 7), 10))
    backend.abort("gone")
    made = drain(backend)
    for number, prompt in enumerate(prompts):
        assert text(made[str(number)]) == expected(name, codec().encode(prompt), 12)
    assert "gone" not in made


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_goes_on_where_it_was(name: str):
    """Also where the generator has to read all of it again: the answer is the same."""
    backend = engine(name)
    backend.slots.clear()
    first = codec().encode(words(40, 50))
    backend.add("turn1", Work(Tokens(tuple(first)), SamplingParams(temperature=0, max_tokens=1)))
    drain(backend)
    second = first + codec().encode(words(2 * BUDGET, 51))
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    backend.add("turn2", Work(Tokens(tuple(second)), params))
    outputs = drain(backend)["turn2"]
    assert text(outputs) == expected(name, second, 8)
    assert outputs[-1].usage.cached_tokens == len(first)


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_that_has_become_too_small_is_replaced(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cupola.workers.run.genai_session.MIN_ROOM", 8)
    backend = engine(name)
    backend.slots.clear()
    prompt = words(5, 60)
    backend.add("r", greedy(prompt, 40, ignore_eos=True))
    assert text(drain(backend)["r"]) == expected(name, codec().encode(prompt), 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_grammars_seeds_and_several_answers_work(name: str):
    backend = engine(name)
    constraint = Constraint(ConstraintKind.REGEX, "(yes|no){3}")
    params = SamplingParams(temperature=1.0, seed=4, max_tokens=40)
    backend.add("bound", Work(Text("abc"), params, answers=2, constraint=constraint))
    outputs = drain_waiting(backend)["bound"]
    for index in range(2):
        answer = text([output for output in outputs if output.index == index])
        assert re.fullmatch("(yes|no){3}", answer)
    seeded = Work(Text("abc"), msgspec.structs.replace(params, ignore_eos=True))
    answers = set()
    for _ in range(2):
        backend.add("r", seeded)
        answers.add(text(drain(backend)["r"]))
    assert len(answers) == 1


def test_drafts_and_the_logprobs_of_a_prompt_work_where_tokens_can_be_read_together():
    backend = engine(GROUPED)
    few = {token: 60.0 for token in codec().encode("ab")}  # so that the answer repeats itself
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, logit_bias=few)
    backend.add("r", Work(Text("abc"), params))
    outputs = drain(backend)["r"]
    assert outputs[-1].usage.accepted_prediction_tokens > 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cupola.workers.engine.draft_planner.DRAFTING_SEQUENCES", 0)
        backend.add("plain", Work(Text("abc"), params))
        assert text(drain(backend)["plain"]) == text(outputs)
    prompt = words(2 * BUDGET + 3, 8)
    with_logprobs = SamplingParams(temperature=0, max_tokens=1, logprobs=0)
    backend.add("p", Work(Text(prompt), with_logprobs, prompt_logprobs=True))
    entries = drain(backend)["p"][0].prompt_logprobs
    assert b"".join(entry.token for entry in entries) == prompt.encode()


@pytest.mark.parametrize("name", [PLAIN, WINDOWED])
def test_the_logprobs_of_a_prompt_are_refused_where_they_cannot_be_had(name: str):
    with pytest.raises(RequestError, match="prompt"):
        engine(name).add("r", Work(Text("abc"), SamplingParams(logprobs=1), prompt_logprobs=True))


def test_the_worker_says_which_engine_serves_a_model_and_why(tmp_path):
    for file in (DATA / PLAIN).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_bytes((DATA / GROUPED / "tokenizer.json").read_bytes())
    options = EngineOptions(slots=2, step_tokens=BUDGET)

    def serving(path, chosen=options):
        return load(LocalModel("m", str(path), ExecutionProvider.CPU), chosen).serving

    assert serving(tmp_path).engine == "onnxruntime-genai"
    assert "MultiHeadAttention" in serving(tmp_path).why
    assert serving(DATA / GROUPED).engine == "batching"
    chosen_genai = serving(DATA / GROUPED, replace(options, backend="genai"))
    assert chosen_genai.engine == "onnxruntime-genai"
    assert "backend" in chosen_genai.why


def test_a_run_that_failed_can_be_followed_by_others():
    session = GenaiSession(folder(), slots=1, threads=1)
    backend = engine_over(session)
    backend.add("r", greedy("abc", 4, ignore_eos=True))
    first = text(drain(backend)["r"])
    session.rebuild()
    backend.slots.clear()
    backend.add("r", greedy("abc", 4, ignore_eos=True))
    assert text(drain(backend)["r"]) == first
