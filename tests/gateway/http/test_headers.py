"""Headers that are decoded once are those of Starlette."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from cupola.gateway.http.headers import RequestHeaders, headers_of

NAMES = st.sampled_from(["host", "via", "origin", "x-\xff"])
RAW = st.lists(
    st.tuples(
        NAMES.map(lambda name: name.encode("latin-1")), st.binary(max_size=4)
    )
)  # fmt: skip


@given(RAW, st.one_of(NAMES, st.sampled_from(["Host", "VIA", "none"])))
def test_each_question_has_starlettes_answer(raw: list[tuple[bytes, bytes]], name: str) -> None:
    ours, theirs = RequestHeaders(raw), Headers(raw=raw)
    assert ours.get(name) == theirs.get(name)
    assert ours.get(name, "nothing") == theirs.get(name, "nothing")
    assert (name in ours) == (name in theirs)
    assert ours.getlist(name) == theirs.getlist(name)
    assert ours.items() == theirs.items()


def scope_with(raw: list[tuple[bytes, bytes]]) -> Scope:
    return {"type": "http", "headers": raw}


def test_they_are_decoded_once() -> None:
    scope = scope_with([(b"host", b"one")])
    assert headers_of(scope) is headers_of(scope)


def test_a_scope_with_other_headers_has_others() -> None:
    scope = scope_with([(b"host", b"one"), (b"content-encoding", b"gzip")])
    headers_of(scope)
    changed = dict(scope, headers=list(scope["headers"]))
    del MutableHeaders(scope=changed)["content-encoding"]
    assert "content-encoding" not in headers_of(changed)
    assert headers_of(scope)["content-encoding"] == "gzip"
