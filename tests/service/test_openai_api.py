"""OpenAI's API with the real model: what a client asks for is what the model is held to."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

import httpx2
import openai
import pytest
from pydantic import BaseModel, Field

from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "How is the weather in Paris, in celsius?"}],
    "temperature": 0,
    "max_tokens": 100,
}


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    unit: Literal["celsius", "fahrenheit"]
    days: Annotated[int, Field(ge=1, le=14)]


FUNCTION: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of some days in a city.",
    "parameters": Weather.model_json_schema(),
}
TOOL: Any = {"type": "function", "function": FUNCTION}
OTHER: Any = {"type": "function", "function": {"name": "get_time"}}


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_required_calls_are_valid(service: Service, choice: Any) -> None:
    client = service.openai()
    asked = ASK | {"temperature": 1, "seed": 1, "tools": [TOOL, OTHER], "tool_choice": choice}
    asked["max_tokens"] = 1000  # room for as many calls as there may be
    [whole] = client.chat.completions.create(**asked).choices
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    assert whole.message.tool_calls
    for call in whole.message.tool_calls:
        assert call.type == "function"
        if call.function.name == "get_weather":
            Weather.model_validate_json(call.function.arguments)
        else:
            assert (call.function.name, json.loads(call.function.arguments)) == ("get_time", {})


def test_streamed_call_is_the_whole_one(service: Service) -> None:
    client = service.openai()
    asked = ASK | {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}
    [whole] = client.chat.completions.create(**asked).choices
    with client.chat.completions.stream(**asked) as stream:
        [streamed] = stream.get_final_completion().choices
    assert whole.message.tool_calls and streamed.message.tool_calls
    assert (
        streamed.message.tool_calls[0].function.arguments
        == whole.message.tool_calls[0].function.arguments
    )


def test_auto_never_fails(service: Service) -> None:
    [choice] = service.openai().chat.completions.create(**ASK, tools=[TOOL]).choices
    assert choice.message.content or choice.message.tool_calls


def test_strict_among_text(service: Service) -> None:
    # The model begins no call by itself, so the tokens that begin one are made likely.
    beginning = {"model": MODEL, "content": "<tool_call>"}
    found = httpx2.post(f"{service.url}/tokenize", json=beginning, timeout=PATIENCE).json()
    strict: Any = {"type": "function", "function": FUNCTION | {"strict": True}}
    request = ASK | {
        "messages": [{"role": "system", "content": "Write <tool_call>"}, *ASK["messages"]],
        "tools": [strict],
        "logit_bias": {str(token): 30 for token in found["tokens"]},
    }
    [choice] = service.openai().chat.completions.create(**request).choices
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]  # the last of several may be cut
    assert call.type == "function" and call.function.name == "get_weather"
    Weather.model_validate_json(call.function.arguments)


def test_parse(service: Service) -> None:
    answer = service.openai().chat.completions.parse(**ASK, response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_choice(service: Service) -> None:
    body = {"guided_choice": ["yes", "no"]}
    answer = service.openai().chat.completions.create(**ASK, extra_body=body)
    assert answer.choices[0].message.content in ("yes", "no")


def test_schema_that_cannot_be_enforced(service: Service) -> None:
    with pytest.raises(openai.BadRequestError, match="not"):
        service.openai().chat.completions.create(
            **ASK, extra_body={"guided_json": {"not": {"type": "string"}}}
        )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, "messages"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"extra_body": {"guided_regex": "("}}, "guided_regex"),
    ],
)
def test_what_the_worker_refuses_has_the_name_that_was_written(
    service: Service, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        service.openai().chat.completions.create(**(ASK | fields))
    assert caught.value.param == param


def test_several_answers_with_logprobs(service: Service) -> None:
    asked = ASK | {"temperature": 1, "seed": 7, "n": 3, "max_tokens": 8}
    answer = service.openai().chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    for choice in answer.choices:
        assert choice.logprobs and choice.logprobs.content
        text = b"".join(bytes(token.bytes or ()) for token in choice.logprobs.content)
        assert text.decode("utf-8", "replace").startswith(choice.message.content or "")
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)
    assert answer.usage and answer.usage.completion_tokens <= 24


def test_plain_completion(service: Service) -> None:
    client = service.openai()
    asked: dict[str, Any] = {"model": MODEL, "prompt": "One, two, three,", "temperature": 0}
    plain = client.completions.create(**asked, max_tokens=5).choices[0].text
    echoed = client.completions.create(**asked, max_tokens=5, echo=True, logprobs=1).choices[0]
    assert echoed.text == asked["prompt"] + plain
    assert echoed.logprobs and echoed.logprobs.tokens and echoed.logprobs.token_logprobs
    assert "".join(echoed.logprobs.tokens) == echoed.text
    assert echoed.logprobs.token_logprobs[0] is None
    streamed = client.completions.create(**asked, max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == plain
    mixed: Any = ["One, two,", [28, 216]]  # a text and tokens: more than the client's types allow
    several = client.completions.create(model=MODEL, prompt=mixed, max_tokens=3)
    assert [choice.index for choice in several.choices] == [0, 1]


def test_best_of(service: Service) -> None:
    answer = service.openai().completions.create(
        model=MODEL, prompt="Once", best_of=3, max_tokens=4, seed=1
    )
    assert len(answer.choices) == 1 and answer.usage and answer.usage.completion_tokens <= 12


def test_async_client(service: Service) -> None:
    async def ask() -> str:
        async with service.async_openai() as client:
            stream = await client.chat.completions.create(**ASK, stop=["."], stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    text = asyncio.run(ask())
    assert text and "." not in text
