"""The official OpenAI client's helpers, sync and async, with the real model."""

from __future__ import annotations

import asyncio
import json
from itertools import groupby
from typing import Any, Literal

import httpx2
import openai
import pytest
from pydantic import BaseModel, Field

from tests.service.conftest import THINKER
from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
    "temperature": 0,
    "max_tokens": 100,
}
RESPOND: dict[str, Any] = {
    "model": MODEL,
    "input": "How is the weather in Paris?",
    "temperature": 0,
    "max_output_tokens": 100,
}
SHORT = {"max_output_tokens": 8}


class Weather(BaseModel):
    """Left open by its schema: nothing in it forbids further properties."""

    city: Literal["Paris", "Rome"]
    days: int = Field(ge=1, le=9)


FUNCTION = openai.pydantic_function_tool(Weather, name="get_weather")
FLAT = {"type": "function", **FUNCTION["function"]}


def kinds(events: Any) -> list[str]:
    """Types of events; neighbours that repeat once."""
    return [kind for kind, _ in groupby(event.type for event in events)]


# -- chat ------------------------------------------------------------------------------------------


def test_streamed_chat_is_parsed(service: Service) -> None:
    client = service.openai()
    with client.chat.completions.stream(**ASK, response_format=Weather) as stream:
        seen = set(kinds(stream))
        [choice] = stream.get_final_completion().choices
    assert {"chunk", "content.delta", "content.done"} <= seen
    assert isinstance(choice.message.parsed, Weather)


def test_round_trip_of_a_call(service: Service) -> None:
    client = service.openai()
    with client.chat.completions.stream(**ASK, tools=[FUNCTION], tool_choice="required") as stream:
        seen = kinds(stream)
        [choice] = stream.get_final_completion().choices
    assert "tool_calls.function.arguments.done" in seen
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert isinstance(call.function.parsed_arguments, Weather)
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 20 degrees"}
    messages = [*ASK["messages"], choice.message.to_dict(), result]
    asked = ASK | {"messages": messages, "max_tokens": 8}
    [answer] = client.chat.completions.create(**asked, tools=[FUNCTION], tool_choice="none").choices
    assert answer.message.content and not answer.message.tool_calls


def test_parsed_arguments(service: Service) -> None:
    asked = ASK | {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False}
    [choice] = service.openai().chat.completions.parse(**asked).choices
    assert choice.message.tool_calls
    [call] = choice.message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)


def test_raw_answers(service: Service) -> None:
    chat = service.openai().chat.completions
    raw = chat.with_raw_response.create(**ASK | {"max_tokens": 2})
    assert raw.status_code == 200
    assert raw.request_id == raw.headers["x-request-id"]
    completion: Any = raw.parse()
    assert completion.choices[0].message.content
    assert completion._request_id == raw.request_id
    with chat.with_streaming_response.create(**ASK | {"max_tokens": 2}, stream=True) as streamed:
        lines = [line for line in streamed.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_tokens_of_reasoning(service: Service) -> None:
    asked = ASK | {"model": THINKER, "max_tokens": 60}
    answer = service.openai().chat.completions.create(**asked)
    thought = answer.choices[0].message.to_dict()["reasoning_content"]
    assert thought
    body = {"model": THINKER, "content": thought}
    tokens = httpx2.post(f"{service.url}/tokenize", json=body, timeout=PATIENCE).json()["tokens"]
    assert answer.usage and answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.reasoning_tokens == len(tokens)


# -- responses -------------------------------------------------------------------------------------


def test_parsed_response(service: Service) -> None:
    response = service.openai().responses.parse(**RESPOND, text_format=Weather)
    assert isinstance(response.output_parsed, Weather)
    assert response.status == "completed"


def test_streamed_response_is_parsed(service: Service) -> None:
    with service.openai().responses.stream(**RESPOND, text_format=Weather) as stream:
        seen = kinds(stream)
        response = stream.get_final_response()
    assert isinstance(response.output_parsed, Weather)
    assert seen == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_streamed_call_of_a_response(service: Service) -> None:
    asked = RESPOND | {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False}
    with service.openai().responses.stream(**asked) as stream:
        seen = kinds(stream)
        [call] = stream.get_final_response().output
    assert seen[2:-1] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert call.type == "function_call" and isinstance(call.parsed_arguments, Weather)


def test_stored_conversation_with_a_call(service: Service) -> None:
    responses = service.openai().responses
    tools: dict[str, Any] = {"tools": [FLAT], "parallel_tool_calls": False}
    first = responses.create(**RESPOND, **tools, tool_choice="required")
    [call] = first.output
    assert call.type == "function_call"
    Weather.model_validate_json(call.arguments)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
    second = responses.create(
        **RESPOND | SHORT | {"input": [output]},
        **tools,
        tool_choice="none",
        previous_response_id=first.id,
    )
    assert second.output_text and second.status == "incomplete"
    assert responses.retrieve(second.id).output_text == second.output_text
    assert [item.type for item in responses.input_items.list(second.id)] == ["function_call_output"]
    responses.delete(second.id)


def test_background_response(service: Service) -> None:
    responses = service.openai().responses
    begun = responses.create(**RESPOND | {"max_output_tokens": 4000}, background=True)
    assert begun.status in ("queued", "in_progress")
    assert responses.cancel(begun.id).status == "cancelled"


# -- the rest --------------------------------------------------------------------------------------


def test_what_is_not_here_says_so(service: Service) -> None:
    client = service.openai()
    for ask in (
        lambda: client.images.generate(prompt="x"),
        lambda: client.files.list(),
        lambda: client.batches.list(),
        lambda: client.moderations.create(input="x"),
        lambda: client.fine_tuning.jobs.list(),
        lambda: client.audio.speech.create(input="x", model="x", voice="alloy"),
    ):
        try:
            ask()
        except openai.APIStatusError as error:
            assert (error.status_code, error.code) == (501, "unsupported_endpoint")
        else:
            raise AssertionError("it was answered")


def test_async_client(service: Service) -> None:
    async def ask() -> None:
        async with service.async_openai() as client:
            parsed = await client.chat.completions.parse(**ASK, response_format=Weather)
            assert isinstance(parsed.choices[0].message.parsed, Weather)
            async with client.chat.completions.stream(**ASK, stop=["."]) as chat:
                deltas = [event.delta async for event in chat if event.type == "content.delta"]
                whole = await chat.get_final_completion()
            assert "".join(deltas) == whole.choices[0].message.content
            response = await client.responses.parse(**RESPOND, text_format=Weather)
            assert isinstance(response.output_parsed, Weather)
            async with client.responses.stream(**RESPOND | {"input": "Hello"}) as streamed:
                texts = [
                    event.delta
                    async for event in streamed
                    if event.type == "response.output_text.delta"
                ]
                final = await streamed.get_final_response()
            assert "".join(texts) == final.output_text
            assert final.status == "completed"
            raw = await client.models.with_raw_response.list()
            assert MODEL in json.dumps([model.to_dict() for model in raw.parse().data])
            made = await client.embeddings.create(model="all-minilm-l6-v2", input=["a", "b"])
            assert [len(entry.embedding) for entry in made.data] == [384, 384]

    asyncio.run(ask())
