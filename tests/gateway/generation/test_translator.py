"""A worker's outputs as events: their order, and how many tokens were spent on thinking."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cupola.gateway.core.events import (
    Finished,
    Logprobs,
    Measured,
    PromptRead,
    Reading,
    TextDelta,
    UsageTotal,
)
from cupola.gateway.generation.translator import Translator
from cupola.gateway.toolcalls.emitter import Emitter
from cupola.gateway.toolcalls.known import HERMES, THINK
from cupola.gateway.toolcalls.marked import MarkedParser
from cupola.gateway.toolcalls.parser import Parser
from cupola.scheduler.protocol.outputs import (
    FinishReason,
    Output,
    PromptProgress,
    Timings,
    TokenLogprob,
    Usage,
)

FAMILY = replace(HERMES, reasoning=(THINK,))
CALL = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'


def parser_of(index: int) -> Parser:
    return MarkedParser(FAMILY, {"add"}, Emitter(index, lambda: "call", True))


def reasoned(
    *pieces: str | tuple[str, int], reason: FinishReason = FinishReason.STOP, answers: int = 1
) -> int:
    """The count for these texts, each of one token or of so many."""
    translator = Translator(parser_of)
    for index in range(answers):
        for piece in pieces:
            text, made = piece if isinstance(piece, tuple) else (piece, 1)
            translator.translate(Output("r", text, index=index, made=made))
        usage = Usage(1, 99) if index == answers - 1 else None
        events = translator.translate(Output("r", "", reason, usage, index, made=1))
    total = events[-1]
    assert isinstance(total, UsageTotal)
    return total.reasoning_tokens


@pytest.mark.parametrize(
    ("pieces", "count"),
    [
        (("Hello", " you"), 0),
        (("<think>", "One", " two", "</think>", "\n\n", "Hi"), 3),
        (("<think>", "One", " two", "</think>", CALL), 3),
        (("<think>", "One", "</think>"), 2),
        (("<", "think", ">", "One", "</", "think", ">", "Hi"), 4),
        ((("<think>One two</think>", 4), "Hi"), 4),
        ((("<think>aaaa</think>bbbb", 8),), 4),  # by their lengths
    ],
)
def test_tokens_of_reasoning(pieces: tuple[str, ...], count: int) -> None:
    assert reasoned(*pieces) == count
    assert reasoned(*pieces, answers=2) == 2 * count


def test_a_thought_that_is_cut_is_a_thought() -> None:
    assert reasoned("<think>", "One", " <", reason=FinishReason.LENGTH) == 4


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "<", CALL]), max_size=12))
def test_it_is_never_more_than_there_were(pieces: list[str]) -> None:
    text = "".join(pieces)
    cuts = [0, *itertools.accumulate(map(len, pieces))]
    again = [text[a:b] for a, b in itertools.pairwise(cuts)]
    assert 0 <= reasoned(*again) <= len(pieces) + 1


@pytest.mark.parametrize("make_parser", [None, parser_of])
def test_the_order_of_what_one_output_tells(make_parser: Any) -> None:
    """An answer of one token has its beginning and its end in one output."""
    usage, token = Usage(5, 1), TokenLogprob(b"Hi", -0.5)
    timings = Timings(usage, 0.1, 0.0)
    output = Output(
        "r", "Hi", FinishReason.STOP, usage, logprobs=(token,), prompt_usage=usage, timings=timings
    )
    translator = Translator(make_parser)
    progress = PromptProgress(5, 0, 5, 0.1)
    assert translator.translate(Output("r", progress=progress)) == [Reading(0, progress)]
    assert translator.translate(output) == [
        PromptRead(0, usage),
        Measured(0, timings),
        Logprobs(0, (token,)),
        TextDelta(0, "Hi"),
        Finished(0, "stop"),
        UsageTotal(usage, 0, timings),
    ]
