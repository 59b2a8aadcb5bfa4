"""Calls that an answer begins with as plain JSON, and texts that only look so."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.core.events import Event, TextDelta, ToolCallArguments, ToolCallStart
from cupola.gateway.toolcalls.emitter import Emitter
from cupola.gateway.toolcalls.known import HERMES, format_of_template
from cupola.gateway.toolcalls.marked import MarkedParser

NAMES = ("add", "get_weather")
CALL = '{"name": "add", "arguments": {"x": "}"}}'
ADDED = [("add", {"x": "}"})]
Read = tuple[str, list[tuple[str, Any]]]


def parser(names: tuple[str, ...] = NAMES) -> MarkedParser:
    return MarkedParser(HERMES, names, Emitter(0, lambda: "id", parallel=True))


def put_together(events: list[Event]) -> Read:
    text, calls = "", list[list[str]]()
    for event in events:
        match event:
            case TextDelta():
                text += event.text
            case ToolCallStart():
                calls.append([event.name, ""])
            case ToolCallArguments():
                calls[event.call][1] += event.fragment
    return text, [(name, json.loads(arguments)) for name, arguments in calls]


def read(*pieces: str, names: tuple[str, ...] = NAMES, cut: bool = False) -> Read:
    reader = parser(names)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return put_together(events + reader.finish(cut=cut))


CALLS: list[tuple[str, Read]] = [
    (CALL, ("", ADDED)),
    (f"\n  {CALL}\n", ("", ADDED)),
    (f"```json\n{CALL}\n```", ("", ADDED)),
    (f"```\n{CALL}\n```\n", ("", ADDED)),
    (f"```json {CALL}```", ("", ADDED)),
    (f"```json\n{CALL}", ("", ADDED)),  # the end of the answer ends the block
    (f"```json\n{CALL}\n{CALL}\n```", ("", ADDED * 2)),
    (f"{CALL}\n{CALL}", ("", ADDED * 2)),
    (f"[{CALL}, {CALL}]", ("", ADDED * 2)),
    (f"{CALL}\n<tool_call>{CALL}</tool_call>", ("", ADDED * 2)),
    (f"{CALL}\nI look it up.", ("I look it up.", ADDED)),
    (f"```json\n{CALL}\n```\nI look it up.", ("I look it up.", ADDED)),
    (f'{CALL}\n{{"name": "fly"}}', ('{"name": "fly"}', ADDED)),
    (f"{CALL}\n```python\nadd()\n```", ("```python\nadd()\n```", ADDED)),
    ('{"arguments": {"x": 1}, "name": "add"}', ("", [("add", {"x": 1})])),
    ('{"name": "add", "parameters": {"x": 1}}', ("", [("add", {"x": 1})])),
    ('{"name": "add", "arguments": "{\\"x\\": 1}"}', ("", [("add", {"x": 1})])),
    ('{"name": "add", "arguments": {"x": "a\nb"}}', ("", [("add", {"x": "a\nb"})])),
    ('{"name": "add", "arguments": {"x": "\\ud800é"}}', ("", [("add", {"x": "\ud800é"})])),
]
TEXTS = [
    '{"name": "fly", "arguments": {}}',
    '{"name": "add"}',
    '{"name": "add", "arguments": {}, "why": "because"}',
    '{"name": "add", "arguments": {}, "parameters": {}}',
    '{"name": "add", "arguments": [1]}',
    '{"name": "add", "arguments": "1"}',
    '{"name": "add", "arguments": {"x": NaN}}',
    '{"name": "add", "arguments": {"x": 1e999}}',
    '{"name": "add", "arguments": {"x": 1,}}',
    '{"name": "add", "arguments": {"x": ',
    '{"name": ["add"], "arguments": {}}',
    f'{{"function": {CALL}}}',
    f'[{CALL}, {{"name": "fly", "arguments": {{}}}}]',
    f"[{CALL}, 1]",
    "[]",
    "{}",
    f"Like this: {CALL}",
    f"Like this:\n```json\n{CALL}\n```",
    f"```json\n{CALL}\nand more\n```",
    f"```json\nfirst {CALL}\n```",
    f"```python\n{CALL}\n```",
    f"```json5\n{CALL}\n```",
    f"`{CALL}`",
    f"``` json\n{CALL} ``",
    "```json\n```",
    "```",
    "``",
    " \n",
]


@pytest.mark.parametrize(("answer", "expected"), CALLS)
def test_calls(answer: str, expected: Read) -> None:
    assert read(answer) == expected
    assert read(*answer) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_text_stays_text(text: str) -> None:
    assert read(text) == (text, [])
    assert read(*text) == (text, [])


def test_without_tools_nothing_is_a_call() -> None:
    assert read(CALL, names=()) == (CALL, [])


@pytest.mark.parametrize("end", range(1, len(CALL)))
def test_a_call_that_is_cut_is_text(end: int) -> None:
    assert read(CALL[:end], cut=True) == (CALL[:end], [])


def test_markers_inside_of_what_is_no_call_are_found() -> None:
    answer = f'```json\n<tool_call>{CALL}</tool_call>\n{{"a": 1}}'
    assert read(answer) == ('```json\n{"a": 1}', ADDED)
    assert read(*answer) == read(answer)


def test_what_is_no_call_is_not_held_back() -> None:
    """An answer in JSON is streamed as soon as a key tells that it is no call."""
    reader = parser()
    assert reader.feed('{"city"') == [TextDelta(0, '{"city"')]
    assert reader.feed(': "Paris') == [TextDelta(0, ': "Paris')]


def test_a_call_comes_with_its_last_brace() -> None:
    reader = parser()
    assert reader.feed(CALL[:-1]) == []
    assert put_together(reader.feed("}")) == ("", ADDED)


def test_qwen_s_template_reads_them() -> None:
    """Qwen 2.5 Coder's template shows the markers that the model then forgets."""
    template = "{% if tools %}<tool_call>{'name': <function-name>}</tool_call>{% endif %}"
    found = format_of_template(template)
    assert found.tools is not None and found.tools.whole


# -- any text --------------------------------------------------------------------------------------


def is_call(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) - {"type", "id", "index", "tool_call_id"} not in (
        {"name", "arguments"},
        {"name", "parameters"},
    ):
        return False
    arguments = value.get("arguments", value.get("parameters"))
    return value["name"] in NAMES and isinstance(arguments, dict)


def begins_with_a_call(answer: str) -> bool:
    """Told from the whole answer, with a JSON parser and an expression."""
    start = re.sub(r"^```(json)?(?=[\s{[])", "", answer.lstrip()).lstrip()
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(start)
    except ValueError:
        return False
    if answer.lstrip().startswith("```"):
        inside, marks, _ = start[end:].partition("```")
        if not marks:
            inside = inside.rstrip("`")
        while inside.strip():
            try:
                more, end = json.JSONDecoder(strict=False).raw_decode(inside.lstrip())
            except ValueError:
                return False
            if not all(map(is_call, more if isinstance(more, list) and more else [more])):
                return False
            inside = inside.lstrip()[end:]
    return all(map(is_call, value)) if isinstance(value, list) and value else is_call(value)


def no_surrogates(**kinds: Any) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), **kinds)


FRAGMENTS = st.sampled_from([
    CALL, '{"name": "add"', ', "arguments": {}', "}", "{", "[", "]", "```json\n", "\n```", "```",
    "`", " ", "\n", ", ", '"', '{"a": 1}', '{"name": "fly", "arguments": {}}', "text", "\\",
    "\u2028", ', "why": 1',
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | no_surrogates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "arguments", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.builds(
    lambda value, before, after: before + json.dumps(value) + after,
    VALUES,
    st.sampled_from(["", " ", "```json\n", "```"]),
    st.sampled_from(["", "\n", "\n```", " and so on"]),
)


@given(
    answer=st.lists(FRAGMENTS | no_surrogates(max_size=3), max_size=10).map("".join) | DOCUMENTS,
    cuts=st.lists(st.integers(0, 200)),
)
def test_any_text_that_is_no_call_is_passed_through(answer: str, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    pieces = [answer[a:b] for a, b in itertools.pairwise(places)]
    text, calls = read(*pieces)
    assert (text, calls) == read(answer)
    if begins_with_a_call(answer):
        assert calls
    else:
        assert (text, calls) == (answer, [])
