"""Graphs of onnxruntime-genai's builder and of mobius for one family of models each, against
onnxruntime-genai itself.

Answers cross the sliding windows (24 tokens) and the prompts are read in several chunks. Float32 is
equal token for token, alone and beside others; 4-bit weights make the last bits matter, so there
the distributions are compared.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cupola.scheduler.protocol.tasks import SamplingParams, Tokens, Work
from cupola.workers.engine.engine import Engine
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.workers.families import FAMILIES, LONG_FROM
from tests.workers.reference import DATA, plain_decoder
from tests.workers.run.genai_reference import greedy_answer
from tests.workers.tiny import BUDGET, NAME, SLOTS, codec, decode, drain, engine_over, step, text

FOUR_BIT = tuple(family for family in FAMILIES if family != "gpt-oss")
FLOAT32 = (*FAMILIES, "mobius-llama", "mobius-qwen3", "mobius-gemma3")
COUNT = 40  # tokens of an answer


def prompt(length: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(256), k=length))


PROMPTS = [prompt(length, length) for length in (3, 17, 30, 60, 100)]


@cache
def session(name: str) -> DecoderSession:
    folder = ModelFolder.read(DATA / name)
    return DecoderSession(folder, slots=SLOTS, width=BUDGET, threads=1)


@cache
def engine(name: str) -> Engine:
    """All families have the first one's tokenizer."""
    folder = replace(ModelFolder.read(DATA / name), path=DATA / NAME)
    return engine_over(session(name), of=folder)


def greedy(tokens: tuple[int, ...], count: int = COUNT) -> Work:
    params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
    return Work(Tokens(tokens), params)


@pytest.mark.parametrize("family", FLOAT32)
def test_a_sequence_alone_is_as_the_runtime_of_the_builder_has_it(family: str):
    backend = engine(f"{family}-fp32")
    for tokens in PROMPTS[:3]:
        backend.add("r", greedy(tokens))
        expected = greedy_answer(f"{family}-fp32", tokens, COUNT).tokens
        assert text(drain(backend)["r"]) == decode(expected)


@pytest.mark.parametrize("family", FLOAT32)
def test_sequences_that_share_their_runs_are_as_if_alone(family: str):
    """They arrive at different times, one of them waits for a slot, and prompts come in chunks."""
    backend = engine(f"{family}-fp32")
    made: dict[str, str] = {}
    for number, tokens in enumerate(PROMPTS):
        backend.add(str(number), greedy(tokens))
        for _ in range(3):
            for output in step(backend):
                made[output.request_id] = made.get(output.request_id, "") + output.text
    for request_id, outputs in drain(backend).items():
        made[request_id] = made.get(request_id, "") + text(outputs)
    for number, tokens in enumerate(PROMPTS):
        expected = greedy_answer(f"{family}-fp32", tokens, COUNT).tokens
        assert made[str(number)] == decode(expected)


@pytest.mark.parametrize("family", FOUR_BIT)
def test_the_distributions_of_four_bits_are_those_of_the_runtime_of_the_builder(family: str):
    """Both read the same tokens: those that the runtime of the builder would say."""
    name = f"{family}-int4"
    expected, made = [], []
    for slot, tokens in enumerate(PROMPTS[:SLOTS]):
        answer = greedy_answer(name, tokens, COUNT)
        expected.append(answer.logits)
        made.append(teacher_forced(session(name), slot, [*tokens, *answer.tokens[:-1]]))
    theirs, ours = np.concatenate(expected), np.concatenate(made)
    assert (theirs.argmax(-1) == ours.argmax(-1)).mean() > 0.97
    assert divergence(theirs, ours).mean() < 1e-3


def teacher_forced(model: DecoderSession, slot: int, tokens: list[int]) -> np.ndarray:
    """The logits behind the last tokens, read in chunks while the other slots are idle."""
    logits = []
    for start in range(0, len(tokens), BUDGET):
        chunk = tokens[start : start + BUDGET]
        logits.append(model.run([Row(slot, start, chunk, len(chunk))]).copy())
    return np.concatenate(logits)[-COUNT:]


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Kullback-Leibler, of each row, from logits."""
    log_p, log_q = (x - np.logaddexp.reduce(x, -1, keepdims=True) for x in (p, q))
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(-1))


def test_a_sequence_that_outgrows_the_first_rotary_table_begins_anew_with_the_second():
    """Beside short ones, which stay; prompts longer than the table are read with the second."""
    backend = engine("phi3-long-fp32")
    for number, tokens in enumerate(PROMPTS):
        backend.add(str(number), greedy(tokens))
    made = drain(backend)
    for number, tokens in enumerate(PROMPTS):
        expected = plain_decoder("phi3-long-fp32").generate(list(tokens), COUNT)
        assert text(made[str(number)]) == decode(expected)


def test_what_one_rotary_table_left_in_the_cache_is_not_used_with_the_other():
    backend = engine("phi3-long-fp32")
    backend.slots.clear()
    long = prompt(LONG_FROM + 20, 7)
    cached = []
    for length in (40, 50, LONG_FROM + 10, LONG_FROM + 20):
        backend.add("r", greedy(long[:length], 2))
        outputs = drain(backend)["r"]
        expected = plain_decoder("phi3-long-fp32").generate(list(long[:length]), 2)
        assert text(outputs) == decode(expected)
        cached.append(outputs[-1].usage.cached_tokens)
    assert cached == [0, 40, 0, LONG_FROM + 10]


def test_drafts_do_not_reach_over_the_end_of_the_first_rotary_table():
    """An answer of two letters repeats itself, so much of it comes from drafts."""
    letters = tuple(codec().encode("ab"))
    bias = dict.fromkeys(letters, 60.0)
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, logit_bias=bias)
    backend = engine("phi3-long-fp32")
    backend.add("r", Work(Tokens(PROMPTS[1]), params))
    outputs = drain(backend)["r"]
    expected = list(PROMPTS[1])
    for _ in range(60):
        logits = plain_decoder("phi3-long-fp32").logits(expected)
        expected.append(max(letters, key=lambda token: logits[token]))
    assert text(outputs) == decode(expected[-60:])
    assert outputs[-1].usage.accepted_prediction_tokens > 5
