"""The text of a custom tool's call, from the arguments that a model writes, in any pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.core.events import Event, TextDelta, ToolCallArguments, ToolCallStart
from cupola.gateway.toolcalls.custom_input import CustomInputs, InputReader


def read(*pieces: str) -> str:
    reader = InputReader()
    return "".join([*map(reader.feed, pieces), reader.finish()])


@pytest.mark.slow
@given(
    text=st.text(),
    ascii_=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    cuts=st.lists(st.integers(0, 200)),
)
def test_any_text_comes_through(
    text: str, ascii_: bool, indent: int | None, cuts: list[int]
) -> None:
    text = text.encode("utf-8", "replace").decode()
    written = json.dumps({"input": text}, ensure_ascii=ascii_, indent=indent)
    places = [0, *sorted(cut for cut in cuts if cut < len(written)), len(written)]
    assert read(*(written[a:b] for a, b in itertools.pairwise(places))) == text
    assert read(*written) == text


@given(st.text(st.sampled_from('{}":,\\u0dD8cC input/nab\ud83e')), st.lists(st.integers(0, 50)))
def test_whatever_the_model_writes_can_be_sent(written: str, cuts: list[int]) -> None:
    """Half of a surrogate pair could not be. The pieces change nothing."""
    places = [0, *sorted(cut for cut in cuts if cut < len(written)), len(written)]
    for start in ("", '{"input": "'):
        pieces = [(start + written)[a:b] for a, b in itertools.pairwise([0, *places[1:]])]
        rest = (start + written)[sum(map(len, pieces)) :]
        whole = read(start + written)
        assert read(*pieces, rest) == whole


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('{"patch": "a"}', "a"),  # under another name
        ('{"x": 1, "input": "a"}', "a"),
        ('{"input": "a", "x": 1}', "a"),
        ('{"input": {"a": 1}}', '{"input": {"a": 1}}'),
        ('{"a": "b", "c": "d"}', '{"a": "b", "c": "d"}'),
        ("*** Begin Patch", "*** Begin Patch"),  # no JSON
        ("[1]", "[1]"),
        ("{}", ""),
        ("", ""),
        ('{"input": "a\\x\\/b"}', "a\\x/b"),
        ('{"input": "line\nbreak"}', "line\nbreak"),
        ('{"input": "cut \\ud83e', "cut "),
        ('{"input": "cut \\', "cut "),
        ('{"inp', '{"inp'),
    ],
)
def test_other_ways_to_write_it(written: str, text: str) -> None:
    assert read(written) == text
    assert read(*written) == text


def test_text_comes_early() -> None:
    reader = InputReader()
    assert reader.feed('{"input": "*** Be') == "*** Be"
    assert reader.feed("gin\\") == "gin"
    assert reader.feed("nx\\ud83e") == "\nx"
    assert reader.feed("\\udd80") == "🦀"


def test_only_calls_of_custom_tools_are_changed() -> None:
    inputs = CustomInputs({"patch"})
    events: list[Event] = [
        TextDelta(0, "Now."),
        ToolCallStart(0, 0, "a", "add"),
        ToolCallArguments(0, 0, '{"input": "x"}'),
        ToolCallStart(0, 1, "b", "patch"),
        ToolCallArguments(0, 1, "a pat"),
        ToolCallArguments(0, 1, "ch"),
        ToolCallStart(0, 2, "c", "patch"),
        ToolCallArguments(0, 2, '{"input": "x'),
        ToolCallArguments(0, 2, '"}'),
    ]
    assert inputs.translated(events, ended=True) == [
        *events[:3],
        ToolCallStart(0, 1, "b", "patch", custom=True),
        ToolCallArguments(0, 1, "a patch"),
        ToolCallStart(0, 2, "c", "patch", custom=True),
        ToolCallArguments(0, 2, "x"),
    ]
