"""POST /v1/messages with the official client, against the scripted scheduler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
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
from cupola.scheduler.protocol.messages import (
    Abort,
    ConstraintKind,
    Encode,
    ErrorCode,
    FinishReason,
    Output,
    Outputs,
    Rejected,
    Submit,
    Usage,
    decode_work,
)
from tests.gateway.running_gateway import MODEL, MODEL_ID, WAIT, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

HELLO: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello!"}],
}
QWEN3 = (
    "{% if tools %}<tool_call>{% endif %}{{ message.content.split('</think>') }}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"name": "get_weather", "description": "Now.", "input_schema": SCHEMA}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
OPEN, CLOSE = "<think>", "</think>"


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=gateway.url, api_key="any", max_retries=0, timeout=WAIT
    ) as client:
        yield client


@pytest.fixture
def qwen3(home: Path) -> None:
    """The model is one that knows tools and thinks."""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text(QWEN3, "utf-8")


def say(
    scheduler: ScriptedScheduler,
    text: str,
    reason: FinishReason = FinishReason.STOP,
    stopped_by: str | int | None = None,
) -> None:
    """Set what the model answers, in pieces of three characters."""

    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            for at in range(0, len(text), 3):
                yield Outputs((Output(request.request_id, text[at : at + 3]),))
            end = Output(
                request.request_id, "", reason, Usage(9, 4, cached_tokens=2), stopped_by=stopped_by
            )
            yield Outputs((end,))

    scheduler.script = script


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


# -- answers ---------------------------------------------------------------------------------------


def test_whole_answer(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    answer = client.messages.create(**HELLO)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL_ID)
    assert answer.id.startswith("msg_")
    [block] = answer.content
    assert block.type == "text" and block.text == "One two three."
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 3)
    assert answer.usage.cache_read_input_tokens == 2
    work = work_of(scheduler.next(Submit))
    assert work.prompt.messages == ({"role": "user", "content": "Hello!"},)
    assert work.sampling.max_tokens == 100


def test_streamed_answer(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**HELLO) as stream:
        texts = list(stream.text_stream)
        answer = stream.get_final_message()
    assert texts == ["One", " two", " three."]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 3)


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


@pytest.mark.usefixtures("qwen3")
@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_and_tools(
    client: anthropic.Anthropic, scheduler: ScriptedScheduler, streamed: bool
) -> None:
    say(scheduler, f"{OPEN}\nWhere?\n{CLOSE}\n\nLet me look.\n{CALL}")
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    more: dict[str, Any] = {**HELLO, "tools": [WEATHER], "thinking": thinking}
    if streamed:
        with client.messages.stream(**more) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = client.messages.create(**more)
    thought, text, call = answer.content
    assert (thought.type, thought.thinking.strip()) == ("thinking", "Where?")
    assert thought.signature
    assert (text.type, text.text) == ("text", "Let me look.")
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    assert answer.stop_reason == "tool_use"
    work = work_of(scheduler.next(Submit))
    function = work.prompt.tools[0]["function"]
    assert (function["name"], function["parameters"]) == ("get_weather", SCHEMA)
    assert work.prompt.template_options["enable_thinking"] is True


@pytest.mark.usefixtures("qwen3")
def test_omitted_thinking(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    say(scheduler, f"{OPEN}\nWhere?\n{CLOSE}\n\nHere.")
    omitted: Any = {"type": "adaptive", "display": "omitted"}
    answer = client.messages.create(**HELLO, thinking=omitted)
    assert [block.type for block in answer.content] == ["text"]


@pytest.mark.parametrize(
    ("reason", "stopped_by", "expected"),
    [
        (FinishReason.STOP, "END", ("stop_sequence", "END")),
        (FinishReason.STOP, 2, ("end_turn", None)),
        (FinishReason.LENGTH, None, ("max_tokens", None)),
    ],
)
def test_stop_reasons(
    client: anthropic.Anthropic,
    scheduler: ScriptedScheduler,
    reason: FinishReason,
    stopped_by: str | int | None,
    expected: tuple[str, str | None],
) -> None:
    say(scheduler, "Hi", reason, stopped_by)
    answer = client.messages.create(**HELLO | {"max_tokens": 4}, stop_sequences=["END"])
    assert (answer.stop_reason, answer.stop_sequence) == expected
    assert work_of(scheduler.next(Submit)).sampling.stop == ("END",)


def test_full_context(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    say(scheduler, "Hi", FinishReason.LENGTH)
    assert client.messages.create(**HELLO).stop_reason == "model_context_window_exceeded"


# -- prompts ---------------------------------------------------------------------------------------


def test_conversation_with_tools(
    client: anthropic.Anthropic, scheduler: ScriptedScheduler, qwen3: None
) -> None:
    call: Any = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "P"}}
    result: Any = {"type": "tool_result", "tool_use_id": "call_1", "content": "Sun"}
    failed: Any = {
        "type": "tool_result",
        "tool_use_id": "call_1",
        "content": [{"type": "text", "text": "gone"}],
        "is_error": True,
    }
    client.messages.create(
        model=MODEL,
        max_tokens=5,
        system=[
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be kind."},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "x"},
                    {"type": "text", "text": "Let me look."},
                    call,
                ],
            },
            {"role": "user", "content": [result, failed, {"type": "text", "text": "And now?"}]},
        ],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
    )
    work = work_of(scheduler.next(Submit))
    function = {"name": "get_weather", "arguments": {"city": "P"}}
    assert work.prompt.messages == (
        {"role": "system", "content": "Be brief.\nBe kind."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_content": "Hm",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "Sun", "tool_call_id": "call_1", "name": "get_weather"},
        {"role": "tool", "content": "Error: gone", "tool_call_id": "call_1", "name": "get_weather"},
        {"role": "user", "content": "And now?"},
    )
    assert work.constraint is not None  # a call is required


def test_begun_answer(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    begun: Any = [*HELLO["messages"], {"role": "assistant", "content": "The answer is ("}]
    given: Any = HELLO | {"messages": begun, "system": "Hi"}
    client.messages.create(**given, extra_body={"temperature": 0, "top_k": 3})
    work = work_of(scheduler.next(Submit))
    assert work.prompt.continue_last
    assert work.prompt.messages[0] == {"role": "system", "content": "Hi"}
    assert (work.sampling.temperature, work.sampling.top_k) == (0, 3)


def test_form_of_the_answer(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    form: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    client.messages.create(**HELLO, output_config=form)
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    assert json.loads(constraint.source) == SCHEMA | {"additionalProperties": False}


def test_count_tokens(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            end = Output(
                request.request_id, "", FinishReason.STOP, Usage(7, 0), tokens=tuple(range(7))
            )
            yield Outputs((end,))

    scheduler.script = script
    counted = client.messages.count_tokens(
        model=MODEL, messages=HELLO["messages"], system="Be brief."
    )
    assert counted.input_tokens == 7
    task = decode_work(scheduler.next(Submit).work)
    assert isinstance(task, Encode)


@pytest.mark.parametrize(
    ("offered", "body"),
    [
        (MessageCreateParamsStreaming, MessagesRequest),
        (MessageCountTokensParams, CountRequest),
    ],
)
def test_every_parameter_of_the_client_is_known(offered: Any, body: Any) -> None:
    in_headers = {"betas", "user_profile_id", "workspace_id"}
    assert len(offered.__annotations__) > 10
    assert set(offered.__annotations__) - in_headers <= set(body.model_fields)


def test_what_an_app_has_found(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    found: Any = {
        "type": "search_result",
        "source": "notes.txt",
        "title": "Notes",
        "content": [{"type": "text", "text": "Rain."}],
    }
    client.messages.create(**HELLO | {"messages": [{"role": "user", "content": [found]}]})
    [message] = work_of(scheduler.next(Submit)).prompt.messages
    assert message["content"] == "Notes\nnotes.txt\nRain."


def test_models(client: anthropic.Anthropic) -> None:
    [model] = client.models.list()
    assert (model.type, model.id, model.display_name) == (
        "model",
        MODEL_ID,
        "SmolLM2 135M Instruct",
    )
    assert model.created_at is not None and model.created_at.year == 2024
    assert client.models.retrieve(MODEL) == model


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


def test_a_conversation_is_not_kept_and_the_client_is_told_so(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.beta.messages.create(**HELLO, thread={"type": "create"})
    assert caught.value.error_code == "thread_unsupported_request"


def test_unknown_model(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**HELLO | {"model": "claude"})
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


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


def test_failure_in_the_stream(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Outputs((Output(request.request_id, "One"),))
            yield Rejected(request.request_id, ErrorCode.WORKER_LOST, "the worker died")

    scheduler.script = script
    with pytest.raises(anthropic.APIStatusError, match="worker died") as caught:
        list(client.messages.create(**HELLO, stream=True))
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["code"] == "worker_lost"


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
