"""Prompts that take long to read are read beside the steps, and cost nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cupola.scheduler.protocol.messages import ErrorCode, Rejected
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Chat, Decode, Encode, SamplingParams, Text, Tokens, Work
from cupola.workers.engine.engine import Engine
from cupola.workers.model.render_budget import RenderBudget
from cupola.workers.model.text import RenderedChat, TextCodec
from cupola.workers.planning.step_budget import StepBudget
from tests.workers.tiny import (
    BUDGET,
    CONTEXT,
    alone,
    codec,
    drain,
    folder,
    greedy,
    session,
    text,
    words,
)

MANY = {"unused": ["x"] * 2000}  # strings that the template does not write
LARGE = 100_000


class WatchedCodec(TextCodec):
    """Says what it tokenizes, and waits before it renders a conversation."""

    def __init__(self) -> None:
        super().__init__(folder().path)
        self.encoded: list[int] = []  # sizes of texts
        self.rendering, self.may_render = threading.Event(), threading.Event()

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = True):
        self.encoded.append(len(text))
        return super().encode(text, add_special=add_special, parse_special=parse_special)

    def render(self, chat: Chat, budget: RenderBudget | None = None) -> RenderedChat:
        if threading.current_thread() is not threading.main_thread():
            self.rendering.set()
            assert self.may_render.wait(60)
        return super().render(chat, budget)


class Bench:
    def __init__(self) -> None:
        self.codec = WatchedCodec()
        self.woken = threading.Event()
        budget = StepBudget(1.0, BUDGET)
        self.engine = Engine(folder(), self.codec, session(), budget, 10**9, self.woken.set)

    def drain(self) -> dict[str, list[Any]]:
        """What comes once the texts have been read."""
        while not self.engine.busy:
            assert self.woken.wait(60)
            self.woken.clear()
        return drain(self.engine)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.codec.may_render.set()


def chat(content: str = "Hello") -> Chat:
    return Chat(({"role": "user", "content": content},), template_options=MANY)


def of(prompt: Chat | Text | Tokens, **options: Any) -> Work:
    params = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True)
    return Work(prompt, params, **options)


def test_others_go_on_while_a_large_prompt_is_read(bench: Bench):
    bench.engine.add("large", of(chat()))
    assert bench.codec.rendering.wait(60)
    bench.engine.add("small", greedy(words(9, 1), 20, ignore_eos=True))
    made = drain(bench.engine)
    assert set(made) == {"small"}
    assert text(made["small"]) == alone(words(9, 1), 20)
    bench.codec.may_render.set()
    small = Chat(chat().messages)
    assert text(bench.drain()["large"]) == alone(codec().render(small).text, 5)


@pytest.mark.parametrize("answers", [1, 3])
def test_all_answers_to_a_large_prompt_come(bench: Bench, answers: int):
    bench.codec.may_render.set()
    bench.engine.add("r", of(chat(), answers=answers))
    made = bench.drain()["r"]
    assert {output.index for output in made} == set(range(answers))
    assert [output.last for output in made].count(True) == 1
    assert made[-1].last


def test_a_request_that_is_cancelled_while_it_is_read_says_nothing(bench: Bench):
    bench.engine.add("r", of(chat()))
    assert bench.codec.rendering.wait(60)
    bench.engine.abort("r")
    bench.codec.may_render.set()
    bench.engine.add("next", of(chat()))
    assert set(bench.drain()) == {"next"}
    assert not bench.engine.busy


@pytest.mark.parametrize("prompt", [Text("x" * LARGE), chat("x" * LARGE)], ids=["text", "chat"])
def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized(
    bench: Bench, prompt: Chat | Text
):
    bench.codec.may_render.set()
    bench.engine.add("r", of(prompt))
    (refusal,) = bench.drain()["r"]
    assert isinstance(refusal, Rejected)
    assert refusal.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert f"context holds {CONTEXT} tokens" in refusal.message
    assert bench.codec.encoded == []


def test_a_prediction_is_read_as_far_as_the_answer_may_go(bench: Bench):
    prompt, prediction = words(9, 1), "ab" * LARGE
    bench.engine.add("r", of(Text(prompt), prediction=prediction))
    assert text(bench.drain()["r"]) == alone(prompt, 5)
    assert len(bench.codec.encoded) == 2
    assert max(bench.codec.encoded) < 1000


def test_a_prediction_is_not_read_where_it_is_not_used(bench: Bench):
    bench.engine.add("r", of(Text("ab"), prediction="ab" * LARGE, prompt_logprobs=True))
    assert bench.drain()["r"][-1].last
    assert bench.codec.encoded == [2]


def test_an_error_of_a_large_prompt_is_its_own(bench: Bench):
    bench.codec.may_render.set()
    wrong = Chat((), template_options=MANY | {"messages": 7})
    bench.engine.add("r", of(wrong))
    (refusal,) = bench.drain()["r"]
    assert (refusal.code, refusal.param) == (ErrorCode.INVALID_REQUEST, "prompt")
    assert "template" in refusal.message


def test_a_small_prompt_is_read_at_once(bench: Bench):
    bench.engine.add("r", of(Chat(chat().messages)))
    assert len(bench.engine.waiting) == 1
    assert drain(bench.engine)["r"][-1].last


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [Encode(Text("ab" * LARGE)), Encode(chat()), Decode(tuple(codec().encode("a")) * LARGE)],
    ids=["text", "chat", "tokens"],
)
def test_large_texts_are_converted_beside_the_steps(bench: Bench, task: Encode | Decode):
    bench.codec.may_render.set()
    assert bench.engine.convert("r", task) is None
    (output,) = bench.drain()["r"]
    assert isinstance(output, Output) and output.last
    if isinstance(task, Decode):
        assert output.text == "a" * LARGE
    elif isinstance(task.prompt, Text):
        assert b"".join(output.pieces) == b"ab" * LARGE


@pytest.mark.slow
def test_a_conversion_that_is_cancelled_says_nothing(bench: Bench):
    assert bench.engine.convert("r", Encode(chat())) is None
    bench.engine.abort("r")
    bench.codec.may_render.set()
    assert bench.engine.convert("next", Encode(Text("ab" * LARGE))) is None
    assert set(bench.drain()) == {"next"}
    assert bench.engine.step() == []


def test_more_tokens_than_an_answer_may_have_are_refused(bench: Bench):
    assert bench.engine.convert("r", Encode(Text("x" * 15_000_000))) is None
    (refusal,) = bench.drain()["r"]
    assert isinstance(refusal, Rejected)
    assert "at least" in refusal.message
    assert bench.codec.encoded == []
