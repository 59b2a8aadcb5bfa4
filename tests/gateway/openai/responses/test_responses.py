"""POST /v1/responses over a real port, with the official client, against the scripted scheduler."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, TokenLogprob, Usage
from cupola.scheduler.protocol.tasks import ConstraintKind
from tests.gateway.running_gateway import MODEL, MODEL_ID, WAIT, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!"}
TEMPLATE = "{% if tools %}<tools>{{ tools }}</tools> <tool_call>{% endif %} <think> </think>"
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
Say = Callable[..., None]


@pytest.fixture
def thinker(home: Path) -> None:
    """The model is one that knows tools and thinks."""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")


@pytest.fixture
def say(scheduler: ScriptedScheduler) -> Say:
    """Sets what the model answers, sent in pieces of three characters."""

    def set_answer(answer: str, reason: FinishReason = FinishReason.STOP) -> None:
        def script(request: Any) -> Iterable[Any]:
            if not isinstance(request, Submit):
                return
            wanted = work_of(request).sampling.logprobs is not None
            for at in range(0, len(answer), 3):
                piece = answer[at : at + 3]
                token = TokenLogprob(piece.encode(), -0.5, ((piece.encode(), -0.5),))
                logprobs = (token,) if wanted else ()
                yield Outputs((Output(request.request_id, piece, logprobs=logprobs, made=1),))
            yield Outputs((Output(request.request_id, "", reason, Usage(5, 8, 2)),))

        scheduler.script = script

    return set_answer


def parts(answer: Response) -> list[str]:
    return [item.type for item in answer.output]


# -- whole -----------------------------------------------------------------------------------------


def test_whole(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        answer = client.responses.create(**ASK, temperature=0.5, metadata={"a": "b"})
    assert answer.id.startswith("resp_") and answer.object == "response"
    assert (answer.status, answer.model) == ("completed", MODEL_ID)
    assert answer.output_text == "One two three."
    assert answer.error is None and answer.incomplete_details is None
    assert (answer.temperature, answer.metadata) == (0.5, {"a": "b"})
    assert (answer.tool_choice, answer.tools, answer.truncation) == ("auto", [], "disabled")
    assert answer.text is not None and answer.text.format is not None
    assert answer.text.format.type == "text"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 3)
    assert answer.usage.total_tokens == 8
    assert answer.usage.input_tokens_details.cached_tokens == 2
    Response.model_validate(answer.to_dict())  # every field is as the client types it


def test_async_client(gateway: RunningGateway) -> None:
    async def converse() -> tuple[str, list[str]]:
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=WAIT
        ) as client:
            whole = await client.responses.create(**ASK)
            stream = await client.responses.create(**ASK, stream=True)
            return whole.output_text, [event.type async for event in stream]

    text, kinds = asyncio.run(converse())
    assert text == "One two three."
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_what_the_worker_is_asked(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        client.responses.create(
            **ASK, instructions="Be brief.", max_output_tokens=7, temperature=0, top_p=0.5
        )
    work = work_of(scheduler.next(Submit))
    assert work.prompt.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello!"},
    )
    sampling = work.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (7, 0, 0.5)


@pytest.mark.usefixtures("thinker")
def test_items_become_messages(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    items: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Rain"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "Sun"}],
        },
        {"role": "assistant", "content": "Mixed."},
        {"role": "assistant", "content": "Really."},
    ]
    with gateway.openai() as client:
        client.responses.create(model=MODEL, input=items)
    messages = work_of(scheduler.next(Submit)).prompt.messages
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {}}}
    assert messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "c1", **call}, {"id": "c2", **call}],
        },
        {"role": "tool", "content": "Rain", "tool_call_id": "c1"},
        {"role": "tool", "content": "Sun", "tool_call_id": "c2"},
        {"role": "assistant", "content": "Mixed."},
        {"role": "assistant", "content": "Really."},
    )


def test_cut_short(gateway: RunningGateway, say: Say) -> None:
    say("One two", FinishReason.LENGTH)
    with gateway.openai() as client:
        answer = client.responses.create(**ASK, max_output_tokens=2)
        *_, end = client.responses.create(**ASK, max_output_tokens=2, stream=True)
    assert answer.status == "incomplete" and answer.output_text == "One two"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert end.type == "response.incomplete"
    assert end.response.output[0].status == "incomplete"


def test_without_a_word(gateway: RunningGateway, say: Say) -> None:
    say("")
    with gateway.openai() as client:
        answer = client.responses.create(**ASK)
    assert parts(answer) == ["message"] and answer.output_text == ""


def test_logprobs(gateway: RunningGateway, say: Say) -> None:
    say("abcdef")
    include: Any = ["message.output_text.logprobs"]
    with gateway.openai() as client:
        answer = client.responses.create(**ASK, include=include, top_logprobs=1)
        events = list(client.responses.create(**ASK, include=include, stream=True))
        plain = client.responses.create(**ASK)
    [item] = answer.output
    assert item.type == "message" and item.content[0].type == "output_text"
    assert [token.token for token in item.content[0].logprobs or ()] == ["abc", "def"]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [[token.token for token in delta.logprobs] for delta in deltas] == [["abc"], ["def"]]
    assert plain.output[0].content[0].logprobs == []


# -- streamed --------------------------------------------------------------------------------------

TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_events_of_a_text(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        events = list(client.responses.create(**ASK, stream=True))
    assert [event.type for event in events] == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for event in events:
        type(event).model_validate(event.to_dict())  # exactly as the client types it
    created, end = events[0], events[-1]
    assert created.type == "response.created" and created.response.status == "in_progress"
    assert created.response.output == []
    assert end.type == "response.completed" and end.response.output_text == "One two three."
    done = next(event for event in events if event.type == "response.output_text.done")
    assert done.text == "One two three." and done.item_id == end.response.output[0].id


def test_the_wire(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/responses", json=ASK | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    for frame in frames:
        kind, data = frame.split("\n")
        assert kind == "event: " + json.loads(data.removeprefix("data: "))["type"]


@pytest.mark.usefixtures("thinker")
def test_events_of_reasoning_and_calls(gateway: RunningGateway, say: Say) -> None:
    say("<think>Hm, hm.</think>I look." + CALL + CALL)
    with gateway.openai() as client:
        events: list[Any] = list(client.responses.create(**ASK, tools=[WEATHER], stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    once = [kinds[0], *(kind for before, kind in pairwise(kinds) if kind != before)]
    call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert once == [
        "created",
        "in_progress",
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *call,
        *call,
        "completed",
    ]
    assert kinds.count("function_call_arguments.delta") > 4  # they come as they are made
    for event in events:
        type(event).model_validate(event.to_dict())
    end = events[-1]
    assert end.type == "response.completed"
    reasoning, message, first, second = end.response.output
    assert isinstance(reasoning, ResponseReasoningItem) and reasoning.content
    assert reasoning.content[0].text == "Hm, hm." and message.type == "message"
    assert isinstance(first, ResponseFunctionToolCall)
    assert isinstance(second, ResponseFunctionToolCall)
    assert (first.name, first.arguments) == ("get_weather", '{"city": "Paris"}')
    assert first.call_id != second.call_id and first.id != second.id
    assert end.response.usage is not None
    assert end.response.usage.output_tokens_details.reasoning_tokens > 0
    added = [event for event in events if event.type == "response.output_item.added"]
    assert [event.output_index for event in added] == [0, 1, 2, 3]


@pytest.mark.usefixtures("thinker")
def test_stream_helper(gateway: RunningGateway, say: Say) -> None:
    say("I look." + CALL)
    with (
        gateway.openai() as client,
        client.responses.stream(**ASK, tools=[WEATHER]) as stream,
    ):
        kinds = {event.type for event in stream}
        answer = stream.get_final_response()
    assert {"response.output_text.delta", "response.function_call_arguments.delta"} <= kinds
    assert parts(answer) == ["message", "function_call"] and answer.output_text == "I look."


@pytest.mark.usefixtures("thinker")
@pytest.mark.parametrize("stored", [True, False])
def test_a_call_and_its_result(
    gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say, stored: bool
) -> None:
    """The next request goes on from the store, or from the answer's items sent back as they are."""
    say("<think>Hm.</think>I look." + CALL)
    with gateway.openai() as client:
        first = client.responses.create(**ASK, tools=[WEATHER], store=stored)
        call = first.output[-1]
        assert isinstance(call, ResponseFunctionToolCall)
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain"}
        say("It rains.")
        if stored:
            again: dict[str, Any] = {"input": [result], "previous_response_id": first.id}
        else:
            items = [item.to_dict() for item in first.output]
            again = {"input": [{"role": "user", "content": "Hello!"}, *items, result]}
        second = client.responses.create(model=MODEL, store=stored, **again)
    assert second.output_text == "It rains."
    scheduler.next(Submit)
    assert work_of(scheduler.next(Submit)).prompt.messages == (
        {"role": "user", "content": "Hello!"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": {"city": "Paris"}},
                }
            ],
        },
        {"role": "tool", "content": "Rain", "tool_call_id": call.call_id},
    )


class Town(BaseModel):
    name: str


def test_parse(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say('{"name": "Bath"}')
    with gateway.openai() as client:
        answer = client.responses.parse(**ASK, text_format=Town)
        with client.responses.stream(**ASK, text_format=Town) as stream:
            streamed = stream.get_final_response()
    assert answer.output_parsed == streamed.output_parsed == Town(name="Bath")
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint is not None and constraint.kind is ConstraintKind.JSON_SCHEMA
    assert answer.text is not None and answer.text.format is not None
    assert answer.text.format.type == "json_schema"


@pytest.mark.parametrize(
    ("form", "kind", "source"),
    [
        ({"type": "json_object"}, ConstraintKind.JSON_OBJECT, ""),
        ({"type": "lark_grammar", "grammar": 'start: "a"'}, ConstraintKind.LARK, 'start: "a"'),
        ({"type": "regex", "regex": "a+"}, ConstraintKind.REGEX, "a+"),
        ({"type": "json_schema", "schema": {}}, ConstraintKind.JSON_SCHEMA, "{}"),
    ],
)
def test_forms(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    form: dict[str, Any],
    kind: ConstraintKind,
    source: str,
) -> None:
    with gateway.openai() as client:
        text: Any = {"format": form}
        client.responses.create(**ASK, text=text)
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint is not None and (constraint.kind, constraint.source) == (kind, source)


@pytest.mark.usefixtures("thinker")
@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", set()),
        ("auto", {"get_weather", "get_time"}),
        ({"type": "function", "name": "get_time"}, {"get_weather", "get_time"}),  # enforced
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "get_weather"}],
            },
            {"get_weather"},
        ),
    ],
)
def test_tool_choice(
    gateway: RunningGateway, scheduler: ScriptedScheduler, choice: Any, names: set[str]
) -> None:
    nested = {"type": "function", "function": {"name": "get_time"}}
    with gateway.http() as http:
        body = ASK | {"tools": [WEATHER, nested], "tool_choice": choice}
        answer = http.post("/v1/responses", json=body)
    assert answer.status_code == 200
    response = Response.model_validate(answer.json())  # nested tools come back flat
    assert [tool.name for tool in response.tools if tool.type == "function"] == [
        "get_weather",
        "get_time",
    ]
    tools = work_of(scheduler.next(Submit)).prompt.tools
    assert {tool["function"]["name"] for tool in tools} == names
