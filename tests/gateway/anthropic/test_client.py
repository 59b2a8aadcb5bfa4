"""POST /v1/messages with the official client, against the scripted scheduler."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
from cupola.scheduler.protocol.messages import ErrorCode, Outputs, Rejected, Submit, decode_work
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import ConstraintKind, Encode
from tests.gateway.anthropic.requests import CALL, CLOSE, HELLO, OPEN, SCHEMA, WEATHER, say
from tests.gateway.running_gateway import MODEL, MODEL_ID, WAIT, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

if TYPE_CHECKING:
    import anthropic

# The client takes seconds to import. So its tests do, and not each process that collects them.
pytestmark = pytest.mark.slow


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[anthropic.Anthropic]:
    import anthropic

    with anthropic.Anthropic(
        base_url=gateway.url, api_key="any", max_retries=0, timeout=WAIT
    ) as client:
        yield client


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


def test_every_parameter_of_the_client_is_known() -> None:
    from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams
    from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming

    in_headers = {"betas", "user_profile_id", "workspace_id"}
    offered: Any
    for offered, body in (
        (MessageCreateParamsStreaming, MessagesRequest),
        (MessageCountTokensParams, CountRequest),
    ):
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


def test_a_conversation_is_not_kept_and_the_client_is_told_so(client: anthropic.Anthropic) -> None:
    import anthropic

    with pytest.raises(anthropic.BadRequestError) as caught:
        client.beta.messages.create(**HELLO, thread={"type": "create"})
    assert caught.value.error_code == "thread_unsupported_request"


def test_unknown_model(client: anthropic.Anthropic) -> None:
    import anthropic

    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**HELLO | {"model": "claude"})
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


def test_failure_in_the_stream(client: anthropic.Anthropic, scheduler: ScriptedScheduler) -> None:
    import anthropic

    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Outputs((Output(request.request_id, "One"),))
            yield Rejected(request.request_id, ErrorCode.WORKER_LOST, "the worker died")

    scheduler.script = script
    with pytest.raises(anthropic.APIStatusError, match="worker died") as caught:
        list(client.messages.create(**HELLO, stream=True))
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["code"] == "worker_lost"
