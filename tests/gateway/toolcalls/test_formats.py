"""What answers in each format mean, however their text is cut."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cupola.gateway.core.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from cupola.gateway.toolcalls.emitter import Emitter
from cupola.gateway.toolcalls.formats import AnswerFormat
from cupola.gateway.toolcalls.harmony import HarmonyParser
from cupola.gateway.toolcalls.known import (
    DEEPSEEK,
    GENERIC,
    GRANITE,
    GRANITE_THOUGHTS,
    HARMONY,
    HERMES,
    LLAMA3,
    LLAMA4,
    MISTRAL,
    PHI4_MINI,
    QWEN_CODER,
    THINK,
)
from cupola.gateway.toolcalls.marked import MarkedParser
from cupola.gateway.toolcalls.parser import Parser

NAMES = ("get_weather", "add", "functions")
QWEN3 = replace(HERMES, reasoning=(THINK,))
R1 = replace(GENERIC, reasoning=(THINK,), starts_in_reasoning=True)
GRANITE_32 = replace(GRANITE, reasoning=GRANITE_THOUGHTS)
PARIS = '{"city": "Paris"}'
SUM = '{"a": [1, {"b": "}]"}], "c": "say \\"hi\\" \\\\"}'


@dataclass
class Read:
    """All that was understood of an answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


def parser_of(answer_format: AnswerFormat, names: tuple[str, ...], parallel: bool = True) -> Parser:
    counter = itertools.count()
    emitter = Emitter(0, lambda: f"call_{next(counter)}", parallel)
    if answer_format.harmony:
        return HarmonyParser(names, emitter)
    return MarkedParser(
        answer_format, names, emitter, in_reasoning=answer_format.starts_in_reasoning
    )


def put_together(events: list[Event]) -> Read:
    read = Read()
    for event in events:
        match event:
            case TextDelta(0, text):
                assert text
                read.text += text
            case ReasoningDelta(0, text):
                assert text
                read.reasoning += text
            case ToolCallStart(0, call, id, name):
                assert (call, id) == (len(read.calls), f"call_{call}")
                read.calls.append((name, ""))
            case ToolCallArguments(0, call, fragment):
                assert fragment and call == len(read.calls) - 1
                name, before = read.calls[-1]
                read.calls[-1] = (name, before + fragment)
            case _:
                raise AssertionError(event)
    return read


def read(
    answer_format: AnswerFormat, *pieces: str, names: tuple[str, ...] = NAMES, parallel: bool = True
) -> Read:
    parser = parser_of(answer_format, names, parallel)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return put_together(events + parser.finish())


ANSWERS: list[tuple[AnswerFormat, str, Read]] = [
    (QWEN3, "Hello  you\n", Read("Hello  you\n")),
    (QWEN3, " \n", Read(" \n")),
    (
        QWEN3,
        "<think>\nHm, <tool_call>?\n</think>\n\nHi.",
        Read("Hi.", "Hm, <tool_call>?"),
    ),
    (QWEN3, "<think>\n\n</think>\n\nHi.", Read("Hi.")),
    (QWEN3, "<think>cut", Read("", "cut")),
    (
        QWEN3,
        f'Wait.\n<tool_call>\n{{"name": "get_weather", "arguments": {PARIS}}}\n</tool_call>\n'
        f'<tool_call>\n{{"name": "add", "arguments": {SUM}}}\n</tool_call>',
        Read("Wait.", "", [("get_weather", PARIS), ("add", SUM)]),
    ),
    (  # no end marker between
        QWEN3,
        '<tool_call>{"name": "add", "arguments": {}}<tool_call>{"name": "add"}',
        Read("", "", [("add", "{}"), ("add", "{}")]),
    ),
    (  # the arguments first, or as a string
        QWEN3,
        '<tool_call>{"arguments": {"x": 1}, "name": "add"}</tool_call>'
        '<tool_call>{"name": "add", "arguments": "{\\"x\\": 1}"}</tool_call>',
        Read("", "", [("add", '{"x": 1}'), ("add", '{"x": 1}')]),
    ),
    (  # cut short
        QWEN3,
        '<tool_call>{"name": "add", "arguments": {"x": "lo',
        Read("", "", [("add", '{"x": "lo')]),
    ),
    (QWEN3, '<tool_call>{"na', Read('<tool_call>{"na')),
    (  # no such tool, no JSON, no call: all text
        QWEN3,
        '<tool_call>{"name": "fly", "arguments": {}}</tool_call>',
        Read('<tool_call>{"name": "fly", "arguments": {}}</tool_call>'),
    ),
    (QWEN3, "<tool_call> soon </tool_call>.", Read("<tool_call> soon </tool_call>.")),
    (QWEN3, "a <tool_cal b", Read("a <tool_cal b")),
    (  # text after a call
        QWEN3,
        '<tool_call>{"name": "add", "arguments": {}}</tool_call>\nDone.',
        Read("Done.", "", [("add", "{}")]),
    ),
    (R1, "Let me see.\n</think>\n\n42", Read("42", "Let me see.")),
    (R1, "<think>\nLet me see.</think>42", Read("42", "Let me see.")),
    (R1, "endless", Read("", "endless")),
    (
        LLAMA3,
        f'{{"name": "get_weather", "parameters": {PARIS}}}; {{"name": "add", "parameters": {SUM}}}',
        Read("", "", [("get_weather", PARIS), ("add", SUM)]),
    ),
    (
        LLAMA3,
        f'<|python_tag|>{{"type": "function", "name": "add", "parameters": {SUM}}}',
        Read("", "", [("add", SUM)]),
    ),
    (LLAMA3, '{"answer": 42}', Read('{"answer": 42}')),
    (LLAMA3, "{curly}", Read("{curly}")),
    (LLAMA3, 'See {"name": "add"}', Read('See {"name": "add"}')),
    (
        LLAMA4,
        '<|python_start|>[get_weather(city="Paris"), add(a=[1], b=true)]<|python_end|>',
        Read("", "", [("get_weather", PARIS), ("add", '{"a": [1], "b": true}')]),
    ),
    (LLAMA4, '[get_weather(city="Paris")]', Read("", "", [("get_weather", PARIS)])),
    (LLAMA4, "[1, 2, 3]", Read("[1, 2, 3]")),
    (LLAMA4, "[add(__import__('os'))]", Read("[add(__import__('os'))]")),
    (
        MISTRAL,
        f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {PARIS}}}, '
        f'{{"name": "add", "arguments": {SUM}}}]',
        Read("", "", [("get_weather", PARIS), ("add", SUM)]),
    ),
    (
        MISTRAL,
        f"[TOOL_CALLS]get_weather{PARIS}[TOOL_CALLS]add[ARGS]{SUM}",
        Read("", "", [("get_weather", PARIS), ("add", SUM)]),
    ),
    (MISTRAL, "[TOOL_CALLS]fly{}", Read("[TOOL_CALLS]fly{}")),
    (MISTRAL, "A [TOOL", Read("A [TOOL")),
    (
        PHI4_MINI,
        f'functools[{{"name": "get_weather", "arguments": {PARIS}}}, {{"name": "add"}}]',
        Read("", "", [("get_weather", PARIS), ("add", "{}")]),
    ),
    (
        PHI4_MINI,
        '<|tool_call|>[{"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}]'
        "<|/tool_call|>",
        Read("", "", [("add", '{"x": 1}')]),
    ),
    (PHI4_MINI, "import functools\nprint()", Read("import functools\nprint()")),
    (
        DEEPSEEK,
        "{0}s{1}{0}{1}function{2}get_weather\n```json\n{{p}}\n```{3}{0}s{4}".format(
            "<\uff5ctool\u2581call", "\u2581begin\uff5c>", "<\uff5ctool\u2581sep\uff5c>",
            "<\uff5ctool\u2581call\u2581end\uff5c>", "\u2581end\uff5c>",
        ).replace("{p}", PARIS),
        Read("", "", [("get_weather", PARIS)]),
    ),
    (
        GRANITE_32,
        "Here is my thought process:\nRain?\n\nHere is my response:\nTake a coat.",
        Read("Take a coat.", "Rain?"),
    ),
    (
        GRANITE_32,
        f'<|tool_call|>[{{"name": "get_weather", "arguments": {PARIS}}}]',
        Read("", "", [("get_weather", PARIS)]),
    ),
    (
        HARMONY,
        "<|channel|>analysis<|message|>User asks.<|end|><|start|>assistant<|channel|>commentary "
        f"to=functions.get_weather <|constrain|>json<|message|>{PARIS}<|call|>",
        Read("", "User asks.", [("get_weather", PARIS)]),
    ),
    (
        HARMONY,
        "<|channel|>final<|message|>It rains.<|return|>",
        Read("It rains."),
    ),
    (HARMONY, "no channels", Read("no channels")),
    (HARMONY, "<|channel|>final<|message|>cut <|en", Read("cut <|en")),
    (
        QWEN_CODER,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
        "</tool_call>",
        Read("", "", [("get_weather", PARIS)]),
    ),
    (
        GENERIC,
        f'<tool_call>[{{"name": "get_weather", "arguments": {PARIS}}}]</tool_call>',
        Read("", "", [("get_weather", PARIS)]),
    ),
    (GENERIC, "<tool_call>[]</tool_call>", Read()),
    (GENERIC, f'[{{"name": "add", "arguments": {SUM}}}]', Read("", "", [("add", SUM)])),
]  # fmt: skip


@pytest.mark.parametrize(("answer_format", "answer", "expected"), ANSWERS)
def test_what_it_means(answer_format: AnswerFormat, answer: str, expected: Read) -> None:
    assert read(answer_format, answer) == expected


@pytest.mark.parametrize(("answer_format", "answer", "expected"), ANSWERS)
def test_one_character_at_a_time(answer_format: AnswerFormat, answer: str, expected: Read) -> None:
    assert read(answer_format, *answer) == expected


FORMATS = [QWEN3, R1, LLAMA3, LLAMA4, MISTRAL, PHI4_MINI, DEEPSEEK, GRANITE_32, HARMONY,
            QWEN_CODER, GENERIC]  # fmt: skip
FRAGMENTS = st.sampled_from([
    "<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "functools", "[", "]",
    "<|python_tag|>", "<|channel|>", "<|message|>", "<|end|>", "<|start|>", "analysis", "final",
    "commentary to=functions.add", '{"name": "add", "arguments": {"x": "}"}}', '"', "{", "}",
    '{"name": "fly"}', "add(x=1)", "add", "{}", " ", "\n", ", ", ": ", "text", "\\", "<", "<tool",
    "Here is my thought process:", "Here is my response:", "<function=add>", "é", "[ARGS]",
])  # fmt: skip


@given(
    answer_format=st.sampled_from(FORMATS),
    fragments=st.lists(FRAGMENTS | st.text(max_size=3), max_size=12),
    cuts=st.lists(st.integers(0, 200)),
    parallel=st.booleans(),
)
def test_the_cuts_change_nothing(
    answer_format: AnswerFormat, fragments: list[str], cuts: list[int], parallel: bool
) -> None:
    answer = "".join(fragments)
    places = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    pieces = [answer[a:b] for a, b in itertools.pairwise(places)]
    whole = read(answer_format, answer, parallel=parallel)
    assert read(answer_format, *pieces, parallel=parallel) == whole
    assert parallel or len(whole.calls) <= 1
    assert all(name in NAMES for name, _ in whole.calls)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    calls=st.lists(
        st.tuples(st.sampled_from(NAMES), st.dictionaries(st.text(), JSON, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    indent=st.sampled_from([None, 2]),
    key=st.sampled_from(["arguments", "parameters"]),
    listed=st.booleans(),
)
def test_any_arguments_come_through(
    calls: list[tuple[str, Any]], indent: int | None, key: str, listed: bool
) -> None:
    objects = [{"name": name, key: arguments} for name, arguments in calls]
    if listed:
        answer = f"<tool_call>{json.dumps(objects, indent=indent)}</tool_call>"
    else:
        lines = (json.dumps(one, indent=indent, ensure_ascii=False) for one in objects)
        answer = "\n".join(f"<tool_call>{line}</tool_call>" for line in lines)
    understood = read(QWEN3, answer)
    assert [(name, json.loads(text)) for name, text in understood.calls] == calls
    assert understood.text == ""


def test_only_one_call_where_there_may_be_one() -> None:
    call = f'<tool_call>{{"name": "add", "arguments": {SUM}}}</tool_call>'
    assert read(QWEN3, call + call, parallel=False) == Read("", "", [("add", SUM)])


def test_without_tools_nothing_is_a_call() -> None:
    call = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    assert read(QWEN3, call, names=()) == Read(call)
    assert read(LLAMA3, '{"name": "add"}', names=()) == Read('{"name": "add"}')


def test_text_and_arguments_come_early() -> None:
    parser = parser_of(QWEN3, NAMES)
    assert parser.feed("Well") == [TextDelta(0, "Well")]
    assert parser.feed('<tool_call>{"name": "add"') == [ToolCallStart(0, 0, "call_0", "add")]
    assert parser.feed(', "arguments": {"x') == [ToolCallArguments(0, 0, '{"x')]
    assert parser.feed('": 1}}') == [ToolCallArguments(0, 0, '": 1}')]
