"""The keys of Foundry Local 0.8 in chat completions: only where the settings ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.openai.legacy_keys import rewrite_events, with_legacy_keys
from tests.foundry.conftest import ALIAS, MODEL_ID, client, place
from tests.foundry.wire import PATIENCE
from tests.service.running_service import Service

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": ALIAS, "messages": [{"role": "user", "content": "one two"}]}
KEYS = {"CreatedAt", "IsDelta", "Successful", "HttpStatusCode"}


@pytest.fixture
def legacy(start: Callable[..., Service], tmp_path: Path) -> Iterator[httpx2.Client]:
    place(tmp_path, MODEL_ID)
    with client(start(legacy_keys="yes")) as http:
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


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_what_is_no_completion_stays(value: Any) -> None:
    assert with_legacy_keys(value) == value


@pytest.mark.parametrize(
    "frames",
    [b"", b": keep-alive\n\n", b"data: [DONE]\n\n", b'data: {"error":{"message":"x"}}\n\n'],
)
def test_other_events_stay(frames: bytes) -> None:
    assert rewrite_events(frames) == frames
