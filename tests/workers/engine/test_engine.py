"""The engine on tiny models of onnxruntime-genai's builder, against decoding each request alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import onnxruntime_genai as og
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.messages import ErrorCode, Rejected
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import (
    Chat,
    Constraint,
    ConstraintKind,
    SamplingParams,
    Text,
    Tokens,
    Work,
)
from cupola.workers.engine.engine import Engine
from cupola.workers.engine.sequence import Reproducible
from cupola.workers.engine.slot_allocation import LEAST_READ, WORTH_WAITING
from cupola.workers.model.backend import RequestError
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.planning.step_budget import StepBudget
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.examples import examples
from tests.workers.faulty_session import FaultySession
from tests.workers.reference import DATA, plain_decoder
from tests.workers.tiny import (
    BUDGET,
    CONTEXT,
    LETTERS,
    SLOTS,
    codec,
    decode,
    drain,
    drain_waiting,
    engine,
    engine_over,
    greedy,
    small_memory,
    step,
    text,
    words,
)


@st.composite
def arrivals(draw: st.DrawFn):
    """(step of arrival, prompt length, tokens to make, step of abort or None) of some requests."""
    start, length, count = st.integers(0, 12), st.integers(1, 60), st.integers(1, 12)
    aborted = st.none() | st.none() | st.integers(1, 14)
    return draw(st.lists(st.tuples(start, length, count, aborted), min_size=1, max_size=9))


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(arrivals())
def test_every_sequence_is_as_if_it_ran_alone(requests):
    backend = engine()
    expected: dict[str, str] = {}
    made: dict[str, list[Any]] = {}
    for number, (_, length, count, _) in enumerate(requests):
        prompt = codec().encode(words(length, number))
        tokens = plain_decoder("builder-fp32").generate(prompt, count)
        expected[str(number)] = decode(tokens)
    at = 0
    while at <= 14 or backend.busy:
        for number, (start, length, count, aborted) in enumerate(requests):
            if start == at:
                backend.add(str(number), greedy(words(length, number), count, ignore_eos=True))
            if aborted == at:
                backend.abort(str(number))
        for output in step(backend):
            made.setdefault(output.request_id, []).append(output)
        at += 1
    for number, (start, _, count, aborted) in enumerate(requests):
        outputs = made.get(str(number), [])
        ends = [output for output in outputs if output.finish_reason]
        if aborted is None or aborted < start or ends:
            assert text(outputs) == expected[str(number)]
            assert [end.usage.completion_tokens for end in ends] == [count]
        else:
            assert expected[str(number)].startswith(text(outputs))
    assert backend.slots.table.free == SLOTS


@pytest.mark.parametrize("name", ["builder-fp32", "builder-int4"])
def test_greedy_tokens_are_those_of_onnxruntime_genai(name: str):
    og.disable_telemetry_events()
    model = og.Model(str(DATA / name))
    prompt = codec().encode("The quick brown fox")
    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False, max_length=len(prompt) + 24)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    tokens = generator.get_sequence(0)[len(prompt) :].tolist()
    backend = engine(name)
    backend.add("r", greedy("The quick brown fox", len(tokens), ignore_eos=True))
    assert text(drain(backend)["r"]) == decode(tokens)


def test_a_sequence_fills_its_context_beside_wide_prompts():
    """Rows at the very end of the context share runs with chunks as wide as the budget."""
    backend = engine()
    long = words(CONTEXT - 20, 1)
    backend.add("long", greedy(long, 20, ignore_eos=True))
    made: dict[str, list[Output]] = {}
    for number in range(40):
        if number % 2 == 0 and number < 30:
            backend.add(f"wide{number}", greedy(words(40, number), 2, ignore_eos=True))
        for output in step(backend):
            made.setdefault(output.request_id, []).append(output)
    for request_id, outputs in drain(backend).items():
        made.setdefault(request_id, []).extend(outputs)
    tokens = plain_decoder("builder-fp32").generate(codec().encode(long), 20)
    assert text(made["long"]) == decode(tokens)
    for number in range(0, 30, 2):
        prompt = codec().encode(words(40, number))
        tokens = plain_decoder("builder-fp32").generate(prompt, 2)
        assert text(made[f"wide{number}"]) == decode(tokens)


def test_logits_are_those_of_the_graph_as_it_came():
    folder = ModelFolder.read(DATA / "builder-fp32")
    session = DecoderSession(folder, slots=3, width=64, threads=1)
    first, second = codec().encode(words(30, 1)), codec().encode(words(50, 2))
    session.run([Row(0, 0, first[:20], 0), Row(2, 0, second, 1)])
    logits = session.run([Row(2, 50, [7], 1), Row(0, 20, first[20:], 1)])
    plain = plain_decoder("builder-fp32")
    np.testing.assert_allclose(logits[0], plain.logits([*second, 7]), atol=1e-4)
    np.testing.assert_allclose(logits[1], plain.logits(first), atol=1e-4)


def test_chat_goes_through_the_models_template():
    backend = engine()
    chat = Chat(({"role": "user", "content": "hello"},))
    backend.add("r", Work(chat, SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)))
    last = drain(backend)["r"][-1]
    assert last.usage.prompt_tokens == len("hello") + 2  # two role tokens, one token a byte


def test_the_end_token_ends_the_answer_and_is_not_said():
    prompt = codec().encode("abc")
    tokens = plain_decoder("builder-fp32").generate(prompt, 8)
    end = tokens[5]
    folder = replace(ModelFolder.read(DATA / "builder-fp32"), end_tokens=frozenset({end}))
    session = DecoderSession(folder, slots=1, width=16, threads=1)
    backend = Engine(folder, codec(), session, StepBudget(1.0, 16), CONTEXT)
    backend.add("r", greedy("abc", 20))
    outputs = drain(backend)["r"]
    assert outputs[-1].finish_reason is FinishReason.STOP
    assert text(outputs) == decode(tokens[: tokens.index(end)])
    assert outputs[-1].usage.completion_tokens == tokens.index(end) + 1


def test_a_stop_string_ends_the_answer_before_it():
    prompt = codec().encode("xyz")
    whole = decode(plain_decoder("builder-fp32").generate(prompt, 20))
    stop = whole[6:9]
    backend = engine()
    backend.add("r", greedy("xyz", 20, stop=(stop,), ignore_eos=True))
    outputs = drain(backend)["r"]
    assert text(outputs) == whole[: whole.index(stop)]
    assert outputs[-1].finish_reason is FinishReason.STOP


def test_a_seeded_sequence_is_the_same_alone_and_in_company():
    backend = engine()
    work = Work(Text("seeded"), SamplingParams(temperature=1.2, seed=5, max_tokens=20))
    backend.add("alone", work)
    alone = text(drain(backend)["alone"])
    for number in range(5):
        backend.add(f"other{number}", greedy(words(30, number), 10))
    backend.add("company", work)
    assert text(drain(backend)["company"]) == alone


@pytest.mark.parametrize(
    ("length", "count", "numbers"),
    [(300, None, ["300", "256"]), (256, None, ["256"]), (256, 1, ["256"])],
)
def test_a_prompt_that_fills_the_context_is_refused_with_the_numbers(length, count, numbers):
    backend = engine()
    work = Work(Text(words(length, 0)), SamplingParams(max_tokens=count))
    with pytest.raises(RequestError) as error:
        backend.add("r", work)
    assert error.value.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert error.value.param == "prompt"
    assert all(number in str(error.value) for number in numbers)
    assert not backend.busy


@pytest.mark.parametrize(("asked", "room"), [(5000, 56), (57, 56), (56, 0), (7, 0), (None, 0)])
@pytest.mark.parametrize("answers", [1, 2])
def test_no_more_tokens_than_fit_are_made_and_the_first_output_says_so(asked, room, answers):
    backend = engine()
    params = SamplingParams(max_tokens=asked, ignore_eos=True)
    backend.add("r", Work(Text(words(200, 0)), params, answers=answers))
    first, *others = drain(backend)["r"]
    assert first.room == room
    assert not any(output.room for output in others)
    last = others[-1]
    assert last.finish_reason is FinishReason.LENGTH
    assert last.usage.completion_tokens == answers * min(asked or 56, 56)


def test_without_max_tokens_the_context_is_the_limit():
    backend = engine()
    prompt = words(CONTEXT - 5, 3)
    backend.add("r", Work(Text(prompt), SamplingParams(temperature=0, ignore_eos=True)))
    last = drain(backend)["r"][-1]
    assert last.finish_reason is FinishReason.LENGTH
    assert last.usage.completion_tokens == 5


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(arrivals(), st.integers(CONTEXT, 2 * CONTEXT))
def test_little_memory_and_shared_prompts_change_no_token(requests, positions):
    """Preemption, recomputing, copied and taken-over prefixes: all as if each ran alone."""
    backend = small_memory(positions)
    made: dict[str, list[Output]] = {}
    for number, (_, length, count, _) in enumerate(requests):
        backend.add(str(number), greedy(SHARED + words(length, number % 3), count, ignore_eos=True))
    while backend.busy:
        for output in step(backend):
            made.setdefault(output.request_id, []).append(output)
        assert backend.slots.committed <= positions
    for number, (_, length, count, _) in enumerate(requests):
        prompt = codec().encode(SHARED + words(length, number % 3))
        tokens = plain_decoder("builder-fp32").generate(prompt, count)
        assert text(made[str(number)]) == decode(tokens)
    assert backend.slots.table.free == SLOTS


SHARED = words(100, 99)


def test_sequences_are_preempted_when_memory_runs_out_and_finish_all_the_same():
    backend = small_memory(CONTEXT)
    for number in range(3):
        backend.add(str(number), greedy(words(90, 10 + number), 40, ignore_eos=True))
    fewest, finished = 3, 0
    made: dict[str, list[Output]] = {}
    backend.step()
    while not finished:
        for output in step(backend):
            made.setdefault(output.request_id, []).append(output)
            finished += output.last
        fewest = min(fewest, len(backend.running))
    assert fewest < 3
    for request_id, outputs in drain(backend).items():
        made.setdefault(request_id, []).extend(outputs)
    for number in range(3):
        prompt = codec().encode(words(90, 10 + number))
        tokens = plain_decoder("builder-fp32").generate(prompt, 40)
        assert text(made[str(number)]) == decode(tokens)


def cached_tokens(outputs: list[Output]) -> int:
    usage = outputs[-1].usage
    assert usage is not None
    return usage.cached_tokens


def test_a_conversation_reads_only_what_is_new():
    backend = small_memory(10**9)
    first = words(60, 50)
    backend.add("turn1", greedy(first, 1, ignore_eos=True))
    drain(backend)
    backend.add("turn2", greedy(first + words(20, 51), 5, ignore_eos=True))
    assert cached_tokens(drain(backend)["turn2"]) == 60


def test_a_prefix_that_arrives_several_times_is_computed_once():
    backend = small_memory(10**9)
    prefix = words(120, 60)
    for number in range(3):
        backend.add(str(number), greedy(prefix + LETTERS[number], 3, ignore_eos=True))
    made = drain(backend)
    found = [cached_tokens(made[str(number)]) for number in range(3)]
    assert found[0] == 0
    assert all(120 - WORTH_WAITING < cached <= 120 for cached in found[1:])


def test_other_salts_share_nothing():
    backend = small_memory(10**9)
    work = Work(Text(words(80, 70)), SamplingParams(temperature=0, max_tokens=2))
    found = []
    for salt in ("a", "b", "a"):
        backend.add("r", msgspec.structs.replace(work, cache_salt=salt))
        found.append(cached_tokens(drain(backend)["r"]))
    assert found == [0, 0, 80 - LEAST_READ]


def test_several_answers_share_one_prompt_and_differ():
    backend = small_memory(10**9)
    params = SamplingParams(temperature=1.5, seed=3, max_tokens=8, ignore_eos=True)
    backend.add("r", Work(Text(words(90, 80)), params, answers=3))
    outputs = drain(backend)["r"]
    answers = [text([o for o in outputs if o.index == index]) for index in range(3)]
    assert len(set(answers)) == 3
    assert [o.last for o in outputs].count(True) == 1
    drafts = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    assert msgspec.structs.replace(outputs[-1].usage, **drafts) == Usage(90, 24)
    backend.add("one", Work(Text(words(90, 80)), params))
    assert text(drain(backend)["one"]) == answers[0]


def expected_logprobs(tokens: list[int]) -> np.ndarray:
    plain = plain_decoder("builder-fp32").logits(tokens).astype(np.float64)
    return np.asarray(plain - plain.max() - np.log(np.exp(plain - plain.max()).sum()))


def test_logprobs_are_those_of_the_models_own_distribution():
    backend = engine()
    tokens = codec().encode("logprobs")
    biased = {5: -100.0}
    params = SamplingParams(
        temperature=0, max_tokens=4, logprobs=3, ignore_eos=True, logit_bias=biased
    )
    backend.add("r", Work(Text("logprobs"), params))
    entries = [entry for output in drain(backend)["r"] for entry in output.logprobs]
    assert len(entries) == 4
    for entry in entries:
        expected = expected_logprobs(tokens)
        best = np.argsort(-expected)[:3]
        chosen = next(t for t in range(320) if codec().token_bytes(t) == entry.token)
        assert entry.logprob == pytest.approx(expected[chosen], abs=1e-3)
        assert [p for _, p in entry.top] == pytest.approx(expected[best], abs=1e-3)
        tokens.append(chosen)


def test_the_logprobs_of_the_prompt_come_with_the_first_output():
    backend = engine()
    prompt = "a prompt longer than one chunk of it"
    tokens = codec().encode(prompt)
    assert len(tokens) > BUDGET
    params = SamplingParams(temperature=0, max_tokens=2, logprobs=0, ignore_eos=True)
    backend.add("r", Work(Text(prompt), params, prompt_logprobs=True))
    entries = drain(backend)["r"][0].prompt_logprobs
    assert b"".join(entry.token for entry in entries) == prompt.encode()
    assert np.isnan(entries[0].logprob)
    for place in (1, 16, 17, len(tokens) - 1):
        expected = expected_logprobs(tokens[:place])[tokens[place]]
        assert entries[place].logprob == pytest.approx(expected, abs=1e-3)


def test_a_stop_id_ends_the_answer_but_not_before_min_tokens():
    tokens = plain_decoder("builder-fp32").generate(codec().encode("abc"), 8)
    backend = engine()
    backend.add("r", greedy("abc", 20, stop_token_ids=(tokens[3],), ignore_eos=True))
    last = drain(backend)["r"][-1]
    assert last.stopped_by == tokens[3]
    assert last.usage.completion_tokens == tokens.index(tokens[3]) + 1
    work = greedy("abc", 20, stop_token_ids=(tokens[3],), min_tokens=10, ignore_eos=True)
    backend.add("r", work)
    assert drain(backend)["r"][-1].usage.completion_tokens > 10


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_drafts_change_no_token(temperature: float):
    """With a seed each draw is the same, so the answer is the same with and without drafts."""
    backend = small_memory(10**9)
    few = {token: 60.0 for token in codec().encode("ab")}  # so that the answer repeats itself
    params = SamplingParams(
        temperature=temperature, seed=1, max_tokens=60, ignore_eos=True, logit_bias=few
    )
    work = Work(Text("abc"), params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cupola.workers.engine.draft_planner.DRAFTING_SEQUENCES", 0)
        backend.add("plain", work)
        plain = drain(backend)["plain"]
    assert plain[-1].usage.accepted_prediction_tokens == 0
    for request_id, prediction in (("drafting", ""), ("predicted", text(plain))):
        backend.add(request_id, msgspec.structs.replace(work, prediction=prediction))
        outputs = drain(backend)[request_id]
        assert text(outputs) == text(plain)
        usage = outputs[-1].usage
        assert usage.completion_tokens == 60
        assert usage.accepted_prediction_tokens > 5


def test_a_constrained_answer_follows_its_grammar_beside_free_ones():
    """Random weights would never write JSON by themselves."""
    backend = small_memory(10**9)
    constraint = Constraint(ConstraintKind.REGEX, "(yes|no){3}")
    params = SamplingParams(temperature=1.0, seed=4, max_tokens=40)
    backend.add("free", greedy("abc", 20, ignore_eos=True))
    backend.add("bound", Work(Text("abc"), params, constraint=constraint))
    made = drain_waiting(backend)
    assert re.fullmatch("(yes|no){3}", text(made["bound"]))
    assert made["bound"][-1].finish_reason is FinishReason.STOP
    tokens = plain_decoder("builder-fp32").generate(codec().encode("abc"), 20)
    assert text(made["free"]) == decode(tokens)


def test_a_grammar_that_is_none_is_refused():
    backend = small_memory(10**9)
    constraint = Constraint(ConstraintKind.REGEX, "(")
    backend.add("r", Work(Text("abc"), SamplingParams(max_tokens=5), constraint=constraint))
    (rejected,) = drain_waiting(backend)["r"]
    assert isinstance(rejected, Rejected)
    assert rejected.code is ErrorCode.INVALID_REQUEST


def test_what_the_client_leaves_open_is_as_the_model_advises():
    folder = replace(
        ModelFolder.read(DATA / "builder-fp32"), advised=SamplingParams(temperature=0, top_k=7)
    )
    session = DecoderSession(folder, slots=1, width=16, threads=1)
    backend = Engine(folder, codec(), session, StepBudget(1.0, 16), CONTEXT)
    backend.add("r", Work(Text("abc"), SamplingParams(max_tokens=8, ignore_eos=True)))
    tokens = plain_decoder("builder-fp32").generate(codec().encode("abc"), 8)
    assert text(drain(backend)["r"]) == decode(tokens)


def penalizing() -> Engine:
    """An engine of a model whose makers advise a repetition penalty."""
    folder = replace(
        ModelFolder.read(DATA / "builder-fp32"), advised=SamplingParams(repetition_penalty=10)
    )
    session = DecoderSession(folder, slots=1, width=16, threads=1)
    return Engine(folder, codec(), session, StepBudget(1.0, 16), CONTEXT)


@pytest.mark.parametrize(
    ("given", "as_without"), [({}, False), ({"repetition_penalty": 1.0}, True)]
)
def test_an_advised_repetition_penalty_counts_unless_the_client_gives_one(given, as_without):
    backend = penalizing()
    backend.add("r", greedy("abc", 12, ignore_eos=True, **given))
    tokens = plain_decoder("builder-fp32").generate(codec().encode("abc"), 12)
    assert (text(drain(backend)["r"]) == decode(tokens)) is as_without


def test_an_advised_repetition_penalty_leaves_the_prompt_alone():
    backend = penalizing()
    for letter in LETTERS:
        backend.add(letter, greedy(LETTERS + letter, 1, ignore_eos=True))
    made = drain(backend)
    for letter in LETTERS:
        [token] = plain_decoder("builder-fp32").generate(codec().encode(LETTERS + letter), 1)
        assert text(made[letter]) == decode([token])
    assert any(text(made[letter]) in LETTERS for letter in LETTERS)  # it says the prompt's words


def test_an_advised_repetition_penalty_leaves_grammars_alone():
    backend = penalizing()
    constraint = Constraint(ConstraintKind.REGEX, "[a-z]{12}")
    work = greedy("abc", 12, ignore_eos=True)
    backend.add("advised", msgspec.structs.replace(work, constraint=constraint))
    without = greedy("abc", 12, ignore_eos=True, repetition_penalty=1.0)
    backend.add("without", msgspec.structs.replace(without, constraint=constraint))
    made = drain_waiting(backend)
    assert text(made["advised"]) == text(made["without"])


def test_a_biased_token_is_always_said():
    backend = engine()
    letter = codec().encode("q")[0]
    backend.add("r", greedy("abc", 5, logit_bias={letter: 100.0}, ignore_eos=True))
    assert text(drain(backend)["r"]) == "qqqqq"


def test_token_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(RequestError, match="vocabulary") as caught:
        engine().add("r", Work(Tokens((1, 99999))))
    assert caught.value.param == "prompt"


def test_a_bias_for_a_token_that_does_not_exist_is_refused():
    with pytest.raises(RequestError, match="99999") as caught:
        engine().add("r", greedy("abc", 5, logit_bias={1: 1.0, 99999: 1.0}))
    assert caught.value.param == "logit_bias"


def test_more_requests_than_slots_wait_their_turn():
    backend = engine()
    for number in range(3 * SLOTS):
        backend.add(str(number), greedy(words(5, number), 4, ignore_eos=True))
    made = drain(backend)
    assert sorted(made, key=int) == [str(number) for number in range(3 * SLOTS)]


GREEDY, SEEDED, DRAWN = (
    SamplingParams(temperature=temperature, seed=seed, max_tokens=5, ignore_eos=True)
    for temperature, seed in ((0.0, None), (1.0, 3), (1.0, None))
)


@pytest.mark.parametrize(
    ("which", "params", "reproducible"),
    [
        ("asked", GREEDY, True),
        ("asked", SEEDED, True),
        ("asked", DRAWN, False),
        ("asked", msgspec.structs.replace(DRAWN, top_k=1), True),
        ("always", DRAWN, True),
        ("no", GREEDY, False),
        ("no", SEEDED, False),
    ],
)
def test_answers_that_are_to_come_again_say_so(
    which: Reproducible, params: SamplingParams, reproducible: bool
):
    """And all chunks of prompts, which others will use."""
    model = FaultySession()
    backend = engine_over(model, reproducible=which)
    backend.add("r", Work(Text("abc"), params))
    drain(backend)
    prompt, *tokens = (row for rows in model.runs for row in rows)
    assert prompt.reproducible
    assert {row.reproducible for row in tokens} == {reproducible}


def test_the_first_output_says_how_long_the_prompt_is():
    """Once for each request, however many answers it has."""
    backend = engine()
    prompt = words(40, 7)
    backend.add("plain", greedy(prompt, 4, ignore_eos=True))
    first = drain(backend)["plain"]
    backend.add("again", greedy(prompt, 4, ignore_eos=True))
    backend.add(
        "several", msgspec.structs.replace(greedy(prompt, 4, seed=1, ignore_eos=True), answers=3)
    )
    outputs = drain(backend) | {"plain": first}
    for name, found in outputs.items():
        usages = [output.prompt_usage for output in found]
        assert usages[0] is not None and usages[1:] == [None] * (len(usages) - 1), name
        assert usages[0].prompt_tokens == found[-1].usage.prompt_tokens
        assert usages[0].cached_tokens == found[-1].usage.cached_tokens
        assert 1 <= usages[0].completion_tokens <= found[-1].usage.completion_tokens
    assert outputs["again"][0].prompt_usage.cached_tokens > 0
