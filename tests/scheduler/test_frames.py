"""Any bytes may come as a frame: they are a message or a MalformedFrameError."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    ErrorCode,
    Goodbye,
    Heartbeat,
    LoadModel,
    MalformedFrameError,
    Outcome,
    Outputs,
    Postponed,
    Query,
    Ready,
    Rejected,
    Submit,
    UnloadModel,
    decode_to_gateway,
    decode_to_scheduler,
    decode_to_worker,
    encode,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.scheduler.state.policy import SchedulerPolicy

DECODERS = pytest.mark.parametrize(
    "decode", [decode_to_scheduler, decode_to_gateway, decode_to_worker]
)
Decode = Callable[[bytes], Any]

TAGS = ["Submit", "LoadModel", "Abort", "Query", "Outputs", "Rejected", "Status", "Heartbeat"]
FIELDS = ["request_id", "model", "work", "ttl", "outputs", "resident", "serving", "workers"]
INTEGERS = st.integers(-(2**63), 2**64 - 1)  # all that fit into a frame
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.builds(
    lambda tag, fields: msgspec.msgpack.encode({"type": tag} | fields),
    st.sampled_from(TAGS),
    st.dictionaries(st.sampled_from(FIELDS), VALUES),
)

IDS = st.sampled_from(["a", "b", ""])
NAMES = st.lists(IDS, max_size=2).map(tuple)
PROVIDERS = st.sampled_from(list(ExecutionProvider)[:2])
MODELS = st.builds(LocalModel, IDS, IDS, PROVIDERS)
TTLS = st.none() | st.floats()


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


USAGES = st.none() | st.builds(Usage, INTEGERS, INTEGERS, INTEGERS, INTEGERS, INTEGERS)
ENDS = st.none() | st.sampled_from(FinishReason)
OUTPUTS = st.builds(
    Output, IDS, st.text(), ENDS, USAGES, made=INTEGERS, prompt_usage=USAGES, room=INTEGERS
)
ANY_MESSAGE = st.one_of(
    st.builds(Submit, IDS, MODELS, st.just(msgspec.Raw(b"\xc0")), TTLS, st.text(max_size=3)),
    st.builds(LoadModel, IDS, MODELS, TTLS),
    st.builds(UnloadModel, IDS, IDS, st.booleans()),
    st.builds(Abort, IDS, st.none() | st.sampled_from(Outcome)),
    st.builds(Query, INTEGERS, st.dictionaries(st.sampled_from(Outcome), INTEGERS)),
    st.builds(Ready, IDS, PROVIDERS, INTEGERS, st.integers(-2, 3), NAMES, NAMES),
    st.builds(Heartbeat, INTEGERS, NAMES, NAMES),
    st.builds(Postponed, NAMES),
    st.builds(Outputs, st.lists(OUTPUTS, max_size=3).map(tuple)),
    st.builds(Rejected, IDS, st.sampled_from(ErrorCode), st.text()),
    st.builds(Done, IDS),
    st.builds(Goodbye),
)


@given(st.lists(st.tuples(st.binary(max_size=1), ANY_MESSAGE, st.floats(0, 700)), max_size=20))
def test_any_message_from_anybody(events: list[tuple[bytes, Any, float]]) -> None:
    """A gateway's from a worker, a worker's from a gateway, for requests that nobody knows."""
    policy = SchedulerPolicy(workers={"a": ExecutionProvider.CPU}, queue_limit=3)
    scheduler = Scheduler(policy, epoch="e")
    now = 0.0
    for peer, message, pause in events:
        now += pause
        for send in [*scheduler.receive(peer, message, now), *scheduler.tick(now)]:
            assert encode(send.message)
        if (deadline := scheduler.next_deadline()) is not None:
            assert not math.isnan(deadline)
