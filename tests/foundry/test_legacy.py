"""The keys of Foundry Local 0.8 in chat completions: only where the settings ask for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.chat_frames import ChatFrames
from cupola.gateway.openai.legacy_keys import LegacyChatFrames
from cupola.scheduler.protocol.outputs import TokenLogprob, Usage
from tests.foundry.conftest import ALIAS, MODEL_ID, client, place
from tests.foundry.wire import PATIENCE
from tests.service.running_service import Service

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": ALIAS, "messages": [{"role": "user", "content": "one two"}]}
KEYS = {"CreatedAt", "IsDelta", "Successful", "HttpStatusCode"}


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a service that both tests leave as it is."""
    home = tmp_path_factory.mktemp("legacy")
    place(home, MODEL_ID)
    with (
        Service(home, backend="echo", model="", legacy_keys="yes") as service,
        client(service.ready()) as http,
    ):
        yield http


def events(http: httpx2.Client) -> list[dict[str, Any]]:
    body = http.post(CHAT, json=BODY | {"stream": True}).text
    *lines, done = [line for line in body.split("\n\n") if line]
    assert done == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_by_default_there_are_none(http: httpx2.Client) -> None:
    whole = http.post(CHAT, json=BODY).json()
    assert not KEYS & whole.keys()
    assert "delta" not in whole["choices"][0]
    for event in events(http):
        assert not KEYS & event.keys()
        assert all("message" not in choice for choice in event["choices"])


def test_whole_and_streamed(legacy: httpx2.Client) -> None:
    whole = legacy.post(CHAT, json=BODY).json()
    [choice] = whole["choices"]
    assert choice["delta"] == choice["message"]
    assert (whole["IsDelta"], whole["Successful"], whole["HttpStatusCode"]) == (False, True, 0)
    assert whole["CreatedAt"].endswith("+00:00")
    for event in events(legacy):
        assert event["IsDelta"] is True
        assert all(choice["message"] == choice["delta"] for choice in event["choices"])
    assert legacy.post(CHAT, json={"model": ALIAS}).status_code == 400
    assert not KEYS & legacy.get("/v1/models").json().keys()


def test_the_official_client_still_reads_it(legacy: httpx2.Client) -> None:
    with openai.OpenAI(
        base_url=str(legacy.base_url.join("/v1")), api_key="none", max_retries=0, timeout=PATIENCE
    ) as asking:
        answer = asking.chat.completions.create(**BODY)
        with asking.chat.completions.create(**BODY, stream=True) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert answer.choices[0].message.content == text


def frames(kind: type[ChatFrames]) -> ChatFrames:
    return kind("m", include_usage=True)


def test_other_events_have_no_such_keys() -> None:
    legacy, plain = frames(LegacyChatFrames), frames(ChatFrames)
    error = ApiError(500, "internal_error", "x")
    assert legacy.idle() == plain.idle() == b": keep-alive\n\n"
    assert legacy.end() == plain.end() == b"data: [DONE]\n\n"
    assert legacy.failure(error) == plain.failure(error)


@given(st.text())
def test_keys_are_added_and_nothing_else_changes(text: str) -> None:
    """Chunks with them are those without them, but for the keys."""
    events: list[Event] = [
        ReasoningDelta(0, text),
        TextDelta(0, text),
        Logprobs(0, (TokenLogprob(b"a", -0.5, ()),)),
        ToolCallStart(0, 0, "call_1", "f"),
        ToolCallArguments(0, 0, text),
        Finished(0, "tool_calls"),
        UsageTotal(Usage(1, 2)),
    ]
    for legacy, plain in zip(
        chunks(LegacyChatFrames, events), chunks(ChatFrames, events), strict=True
    ):
        assert {key: legacy.pop(key) for key in KEYS}["HttpStatusCode"] == 0
        for choice in legacy["choices"]:
            assert choice.pop("message") == choice["delta"]
        assert legacy == plain


def chunks(kind: type[ChatFrames], events: list[Event]) -> list[dict[str, Any]]:
    stream = frames(kind)
    lines = (stream.begin() + stream.encode(events)).decode().split("\n\n")
    decoded = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    return [chunk | {"id": "", "created": 0} for chunk in decoded]
