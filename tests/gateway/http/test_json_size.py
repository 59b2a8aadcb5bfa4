"""The count of a body's parts agrees with what a JSON reader finds, however the body is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.http.json_size import MAX_DEPTH, MAX_PARTS, MAX_VALUES, JsonSize

TEXTS = st.text(alphabet=st.sampled_from('ab"\\,[]{}:é\n'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def size_of(body: bytes, piece: int = 1000) -> JsonSize:
    size = JsonSize()
    for start in range(0, len(body), piece):
        size.feed(body[start : start + piece])
    return size


def parts(value: Any) -> int:
    match value:
        case dict():
            return 1 + sum(1 + parts(inner) for inner in value.values())
        case list():
            return 1 + sum(map(parts, value))
    return int(isinstance(value, str))


@given(VALUES, st.integers(1, 9), st.booleans())
def test_counts_as_a_reader_does(value: Any, piece: int, plain: bool) -> None:
    size = size_of(json.dumps(value, ensure_ascii=plain).encode(), piece)
    assert size.parts == parts(value)
    assert not size.excess


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "excess"),
    [
        ("[" + ",".join(['""'] * (MAX_PARTS - 1)) + "]", ""),
        ("[" + ",".join(['""'] * MAX_PARTS) + "]", "texts, lists and objects"),
        ("[" + ",".join(["{}"] * MAX_PARTS) + "]", "texts, lists and objects"),
        ("{" + ",".join(['"a":1'] * MAX_PARTS) + "}", "texts, lists and objects"),
        ("[" + ",".join(["1"] * MAX_VALUES) + "]", ""),
        ("[" + ",".join(["1"] * (MAX_VALUES + 1)) + "]", "values"),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, ""),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "levels"),
        ('{"a":' * 10_000, "levels"),
        ('"' + '[{,\\"' * 200_000 + '"', ""),
        ("[" + "[],{}," * 1000 + "[]]", ""),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("piece", [7, 65536])
def test_limits(body: str, excess: str, piece: int) -> None:
    assert excess in size_of(body.encode(), piece).excess
    assert bool(excess) == bool(size_of(body.encode(), piece).excess)
