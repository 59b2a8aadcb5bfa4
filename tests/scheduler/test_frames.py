"""Any bytes may come as a frame: they are a message or a MalformedFrameError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.messages import (
    MalformedFrameError,
    decode_to_gateway,
    decode_to_scheduler,
    decode_to_worker,
)

DECODERS = pytest.mark.parametrize(
    "decode", [decode_to_scheduler, decode_to_gateway, decode_to_worker]
)
Decode = Callable[[bytes], Any]

TAGS = ["Submit", "LoadModel", "Abort", "Query", "Outputs", "Rejected", "Status", "Heartbeat"]
FIELDS = ["request_id", "model", "work", "ttl", "outputs", "resident", "serving", "workers"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.builds(
    lambda tag, fields: msgspec.msgpack.encode({"type": tag} | fields),
    st.sampled_from(TAGS),
    st.dictionaries(st.sampled_from(FIELDS), VALUES),
)


def nested(opening: bytes, depth: int, inside: bytes = b"\x90") -> bytes:
    return opening * depth + inside


def submitted(work: bytes) -> bytes:
    """A Submit whose ``work`` is these bytes."""
    head = msgspec.msgpack.encode({"type": "Submit", "request_id": "r", "model": {}, "work": 0})
    return head[:-1] + work


@DECODERS
@pytest.mark.parametrize("depth", [100, 2_000, 100_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\x81\xa7outputs", b"\xdd\0\0\0\1"])
def test_frames_that_are_nested_deeply(decode: Decode, opening: bytes, depth: int) -> None:
    for frame in (
        nested(opening, depth),
        nested(opening, depth, b""),
        submitted(nested(opening, depth)),
        b"\x82\xa4type\xa7Outputs\xa1x" + nested(opening, depth),
    ):
        with contextlib.suppress(MalformedFrameError):
            decode(frame)


@DECODERS
@given(frame=st.binary() | MESSAGES)
def test_any_frame(decode: Decode, frame: bytes) -> None:
    with contextlib.suppress(MalformedFrameError):
        decode(frame)


def test_the_error_has_none_of_the_bytes() -> None:
    with pytest.raises(MalformedFrameError) as caught:
        decode_to_scheduler(b"\xa6secret")
    assert "7 bytes" in str(caught.value) and "secret" not in str(caught.value)
