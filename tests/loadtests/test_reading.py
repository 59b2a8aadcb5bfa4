"""What is read from a stream: text, tokens, times, and what is wrong with it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.loadtests.load.reading import Reading
from tests.loadtests.scripted_server import END, frame, piece, usage

CALL = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}}
MORE = {"index": 0, "function": {"arguments": ": 1}"}}


def read(*frames: str, began: float = 0.0) -> Reading:
    """With a second between two lines."""
    reading = Reading(began)
    lines = "".join(frames).split("\n")
    for number, line in enumerate(lines, 1):
        reading.line(line, began + number)
    reading.end(began + len(lines) + 1)
    return reading


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30), st.floats(0, 1e6))
def test_the_times_of_the_pieces_add_up(waits: list[float], began: float) -> None:
    reading, now = Reading(began), began
    for wait in waits:
        now += wait
        reading.line(piece("x"), now)
    reading.end(now)
    assert reading.ttft is not None and reading.e2e is not None and reading.tpot is not None
    assert reading.ttft + sum(reading.gaps) == pytest.approx(reading.e2e, abs=1e-6)
    assert len(reading.gaps) == reading.tokens - 1 == len(waits) - 1
    assert reading.tpot == pytest.approx((reading.e2e - reading.ttft) / (len(waits) - 1), abs=1e-6)


def test_a_piece_without_text_is_no_first_token() -> None:
    reading = read(piece(""), piece("a"), piece("b"), usage(5), END)
    assert reading.ttft == 3  # the third line: there is an empty one after each frame
    assert (reading.gaps, reading.text, reading.tokens, reading.counted) == ([2], "ab", 5, True)
    assert reading.error is None


def test_without_usage_pieces_are_counted() -> None:
    reading = read(piece("a"), piece("b"), END)
    assert (reading.tokens, reading.counted) == (2, False)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_are_tokens_too(field: str) -> None:
    reading = read(frame({"choices": [{"delta": {field: "hm"}}]}), piece("a"), END)
    assert (reading.ttft, reading.text, reading.tokens) == (1, "a", 2)


def test_calls_are_put_together() -> None:
    frames = [frame({"choices": [{"delta": {"tool_calls": [part]}}]}) for part in (CALL, MORE)]
    (call,) = read(*frames, END).calls
    assert call["id"] == "c1"
    assert call["function"] == {"name": "look", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([piece("a")], "ended before the answer did"),
        ([], "ended before the answer did"),
        ([piece("a"), frame({"error": {"message": "out of luck"}})], "out of luck"),
        ([piece("a"), frame({"error": "out of luck"})], "out of luck"),
        (["data: <html>\n\n"], "not a chunk"),
        (["data: 5\n\n"], "not a chunk"),
        ([frame({"choices": 5})], "not a chunk"),
        ([frame({"choices": [{"delta": 5}]})], "not a chunk"),
        ([frame({"choices": [], "usage": {}}), frame({"usage": 5})], "not a chunk"),
    ],
)
def test_a_broken_stream_is_an_error_and_keeps_its_text(frames: list[str], error: str) -> None:
    reading = read(*frames)
    assert reading.error is not None and error in reading.error
    assert reading.text == ("a" if frames and frames[0] == piece("a") else "")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "usage", "error", "content", "tool_calls"]), x
            )
        ),
    )
)
def test_no_frame_makes_a_reading_fail(value: object) -> None:
    reading = Reading(0)
    reading.line(f"data: {json.dumps(value)}", 1)
    reading.end(2)
    assert reading.e2e == 2
