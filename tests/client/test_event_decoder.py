from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cupola.client.sse import EventDecoder


def decode(*chunks: bytes) -> list[str]:
    decoder = EventDecoder()
    return [data for chunk in chunks for data in decoder.feed(chunk)]


def test_events() -> None:
    assert decode(b'data: {"a":1}\n\ndata: [DONE]\n\n') == ['{"a":1}', "[DONE]"]


def test_an_event_counts_when_it_is_complete() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == ["a"]


def test_line_ends_of_all_kinds() -> None:
    assert decode(b"data: a\r\n\r\ndata: b\r\rdata: c\n\n") == ["a", "b", "c"]


def test_comments_other_fields_and_empty_events_are_nothing() -> None:
    assert decode(b": keep-alive\n\nevent: x\nid: 1\n\n\n\ndata: a\n\n") == ["a"]


def test_lines_of_one_event_are_joined() -> None:
    assert decode(b"data: a\ndata:b\ndata:  c\ndata\n\n") == ["a\nb\n c\n"]


letters = st.characters(codec="utf-8", exclude_characters="\r\n")
texts = st.lists(st.text(letters, min_size=1), max_size=5)


@given(texts=texts, end=st.sampled_from(["\n", "\r\n", "\r"]), data=st.data())
def test_it_does_not_matter_where_the_bytes_are_cut(
    texts: list[str], end: str, data: st.DataObject
) -> None:
    stream = "".join(f"data: {text}{end}{end}" for text in texts).encode() + b": end\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[begin:stop] for begin, stop in pairwise(edges)]
    assert decode(*chunks) == texts
