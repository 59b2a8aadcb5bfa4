"""POST /v1/messages without a client, against the scripted scheduler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.anthropic.frames import AnthropicFrames
from cupola.gateway.core.events import (
    Event,
    Finished,
    PromptRead,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.scheduler.protocol.messages import Abort, ErrorCode, Rejected, Submit
from cupola.scheduler.protocol.outputs import Usage
from tests.gateway.anthropic.requests import CALL, CLOSE, HELLO, OPEN, WEATHER, say
from tests.gateway.running_gateway import MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler


def kinds(events: Iterable[Any]) -> list[str]:
    """Types of raw events, those of deltas and blocks behind them; neighbours that repeat once."""
    seen: list[str] = []
    for event in events:
        kind = event["type"]
        part = event.get("delta") or event.get("content_block") or {}
        kind += f" {part['type']}" if "type" in part else ""
        if not seen or seen[-1] != kind:
            seen.append(kind)
    return seen


def frames_of(text: str) -> list[dict[str, Any]]:
    """The events of a raw stream; each is named as its data are."""
    events = []
    for frame in text.split("\n\n")[:-1]:
        if frame.startswith(":"):
            continue
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def raw_stream(gateway: RunningGateway, **more: Any) -> list[dict[str, Any]]:
    with gateway.http() as http:
        answer = http.post("/v1/messages", json={**HELLO, "stream": True, **more})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return frames_of(answer.text)


def test_order_of_events(gateway: RunningGateway) -> None:
    events = raw_stream(gateway)
    message = events[0].pop("message")
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": MODEL_ID,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 1,
        },
    }
    delta = "content_block_delta"
    assert events == [
        {"type": "message_start"},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": delta, "index": 0, "delta": {"type": "text_delta", "text": "One"}},
        {"type": delta, "index": 0, "delta": {"type": "text_delta", "text": " two"}},
        {"type": delta, "index": 0, "delta": {"type": "text_delta", "text": " three."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 2,
                "output_tokens": 3,
            },
        },
        {"type": "message_stop"},
    ]


def test_a_prompt_that_is_read_for_long_keeps_the_connection_open() -> None:
    frames = AnthropicFrames("m", max_tokens=9)
    waiting = frames.begin() + frames.idle() + frames.idle()
    assert frames_of(waiting.decode()) == []  # clients take only message_start first
    assert waiting.startswith(b": ")
    read = frames.encode([PromptRead(0, Usage(9, 1, cached_tokens=4))])
    start, ping = frames_of(read.decode())
    assert (start["type"], ping["type"]) == ("message_start", "ping")
    usage = start["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (5, 4)
    assert kinds(frames_of(frames.idle().decode())) == ["ping"]


@pytest.mark.usefixtures("qwen3")
def test_order_of_blocks(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    say(scheduler, f"{OPEN}\nWhere?\n{CLOSE}\n\nLet me look.\n{CALL}\n{CALL}")
    events = raw_stream(gateway, tools=[WEATHER])
    stop = "content_block_stop"
    call = ["content_block_start tool_use", "content_block_delta input_json_delta", stop]
    assert kinds(events) == [
        "message_start",
        "ping",
        "content_block_start thinking",
        "content_block_delta thinking_delta",
        "content_block_delta signature_delta",
        stop,
        "content_block_start text",
        "content_block_delta text_delta",
        stop,
        *call,
        *call,
        "message_delta",
        "message_stop",
    ]
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert starts == stops == [0, 1, 2, 3]


def test_what_coding_agents_send(gateway: RunningGateway) -> None:
    body = {
        **HELLO,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "tools": [WEATHER | {"cache_control": {"type": "ephemeral"}}],
    }
    headers = {"x-api-key": "sk", "anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    with gateway.http() as http:
        answer = http.post("/v1/messages?beta=true", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


# -- errors ----------------------------------------------------------------------------------------


def refused(gateway: RunningGateway, path: str = "/v1/messages", **more: Any) -> tuple[int, Any]:
    with gateway.http() as http:
        answer = http.post(path, json={**HELLO, **more})
    body = answer.json()
    assert (body["type"], set(body)) == ("error", {"type", "error", "request_id"})
    assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer.status_code, body["error"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"max_token": 5}, "max_token"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"container": "x"}, "container"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"speed": "fast"}, "speed"),
        ({"compaction": {"type": "auto"}}, "compaction"),
        ({"output_config": {"task_budget": {"total": 9}}}, "output_config.task_budget"),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "context_management",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ],
)
def test_refused_parameters(gateway: RunningGateway, more: dict[str, Any], param: str) -> None:
    status, error = refused(gateway, **more)
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)


def test_errors_from_before_the_route(gateway: RunningGateway) -> None:
    assert refused(gateway, system="x" * 200_000)[1]["type"] == "request_too_large"
    assert refused(gateway, "/v1/messages/nothing")[1]["type"] == "not_found_error"
    assert refused(gateway, "/v1/messages/batches")[0] == 501


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (ErrorCode.QUEUE_FULL, 529, "overloaded_error"),
        (ErrorCode.CONTEXT_LENGTH_EXCEEDED, 400, "invalid_request_error"),
        (ErrorCode.INTERNAL, 500, "api_error"),
    ],
)
def test_failures(
    gateway: RunningGateway, scheduler: ScriptedScheduler, code: ErrorCode, status: int, kind: str
) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Rejected(request.request_id, code, "no")

    scheduler.script = script
    for stream in (False, True):
        found, error = refused(gateway, stream=stream)
        assert (found, error["type"]) == (status, kind)


def test_client_that_leaves(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = None
    connection = gateway.post({**HELLO, "stream": True}, "/v1/messages")
    submit = scheduler.next(Submit)
    connection.close()
    assert scheduler.next(Abort).request_id == submit.request_id


# -- frames ----------------------------------------------------------------------------------------

EVENTS: list[Event] = [
    ReasoningDelta(0, "Hm"),
    TextDelta(0, "A"),
    TextDelta(0, "B"),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallArguments(0, 0, '{"a":'),
    ToolCallArguments(0, 0, " 1}"),
    ToolCallStart(0, 1, "call_2", "g"),
    Finished(0, "tool_calls"),
    UsageTotal(Usage(3, 2)),
]


def test_whole_is_the_stream_put_together() -> None:
    whole = json.loads(AnthropicFrames("m", max_tokens=9).whole(list(EVENTS)))
    frames = AnthropicFrames("m", max_tokens=9)
    text = frames.begin() + frames.encode(EVENTS[:4]) + frames.encode(EVENTS[4:]) + frames.end()
    blocks: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    for event in frames_of(text.decode()):
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            [(field, value)] = [(k, v) for k, v in delta.items() if k != "type"]
            if field == "partial_json":
                inputs[event["index"]] = inputs.get(event["index"], "") + value
            else:
                blocks[event["index"]][field] += value
    for index, text_given in inputs.items():
        blocks[index]["input"] = json.loads(text_given)
    assert whole["content"] == blocks
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use", "tool_use"]


def test_arguments_that_were_cut() -> None:
    cut: list[Event] = [
        ToolCallStart(0, 0, "call_1", "f"),
        ToolCallArguments(0, 0, '{"a": [1, 2'),
        Finished(0, "length"),
        UsageTotal(Usage(3, 9)),
    ]
    whole = json.loads(AnthropicFrames("m", max_tokens=9).whole(cut))
    assert whole["content"][0]["input"] == {"a": [1, 2]}
    assert whole["stop_reason"] == "max_tokens"


PARTS = st.lists(
    st.one_of(
        st.builds(TextDelta, st.just(0), st.text(min_size=1)),
        st.builds(ReasoningDelta, st.just(0), st.text(min_size=1)),
        st.lists(st.text(), max_size=3),  # a call, by the pieces of its arguments
    )
)
LETTERS = {
    "message_start": "<", "ping": "p", "content_block_start": "(", "content_block_delta": "d",
    "content_block_stop": ")", "message_delta": "u", "message_stop": ">",
}  # fmt: skip


@given(PARTS, st.booleans())
def test_any_events_make_a_stream_in_order(parts: list[Any], show_thinking: bool) -> None:
    events: list[Event] = []
    calls = 0
    for part in parts:
        if isinstance(part, list):
            events.append(ToolCallStart(0, calls, f"call_{calls}", "f"))
            events += [ToolCallArguments(0, calls, piece) for piece in part]
            calls += 1
        else:
            events.append(part)
    events += [Finished(0, "stop"), UsageTotal(Usage(3, 2))]
    frames = AnthropicFrames("m", max_tokens=9, show_thinking=show_thinking)
    stream = frames.begin() + b"".join(frames.encode([event]) for event in events) + frames.end()
    sent = frames_of(stream.decode())
    order = "".join(LETTERS[event["type"]] for event in sent)
    assert re.fullmatch(r"<p(\(d*\))*u>", order), order
    open_at = -1
    for event in sent:
        if event["type"] == "content_block_start":
            open_at += 1
        assert event.get("index", open_at) == open_at
    texts = [event["delta"].get("text", "") for event in sent if event["type"].endswith("k_delta")]
    assert "".join(texts) == "".join(e.text for e in events if isinstance(e, TextDelta))
