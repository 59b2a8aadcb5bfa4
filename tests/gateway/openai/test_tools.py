"""Tools, reasoning and forms of answers over a real port, with the official client."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall as FunctionCall
from pydantic import BaseModel

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.gateway.core.schemas.closed_schema import closed
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, TokenLogprob, Usage
from cupola.scheduler.protocol.tasks import ConstraintKind
from tests.gateway.running_gateway import HELLO, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

QWEN3 = (
    "{% if tools %}<tool_call>{% endif %}{{ message.content.split('</think>') }}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
TIME: Any = {"type": "function", "function": {"name": "get_time", "description": "The time."}}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
BARE = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
Say = Callable[..., None]


@pytest.fixture
def say(scheduler: ScriptedScheduler) -> Say:
    """Sets what the model answers: for each answer a text, sent in pieces of three characters."""

    def set_answers(*answers: str, reason: FinishReason = FinishReason.STOP) -> None:
        def script(request: Any) -> Iterable[Any]:
            if not isinstance(request, Submit):
                return
            for index, answer in enumerate(answers):
                last = index == len(answers) - 1
                for at in range(0, len(answer), 3):
                    piece = answer[at : at + 3]
                    token = TokenLogprob(piece.encode(), -0.5, ((piece.encode(), -0.5),))
                    wanted = work_of(request).sampling.logprobs is not None
                    logprobs = (token,) if wanted else ()
                    output = Output(
                        request.request_id, piece, index=index, logprobs=logprobs, made=1
                    )
                    yield Outputs((output,))
                usage = Usage(5, len("".join(answers)) // 3 + 1) if last else None
                yield Outputs((Output(request.request_id, "", reason, usage, index),))

        scheduler.script = script

    return set_answers


@pytest.fixture
def qwen3(home: Path) -> None:
    """The model is one that knows tools and thinks."""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text(QWEN3, "utf-8")


def calls_of(message: Any) -> list[tuple[str, str]]:
    assert all(isinstance(call, FunctionCall) for call in message.tool_calls)
    return [(call.function.name, call.function.arguments) for call in message.tool_calls]


# -- calls -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("qwen3")
def test_call(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say("Let me look.\n" + CALL)
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, tools=[WEATHER, TIME])
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert calls_of(choice.message) == [("get_weather", '{"city": "Paris"}')]
    assert choice.message.tool_calls is not None
    assert re.fullmatch(r"call_[0-9a-f]{24}", choice.message.tool_calls[0].id)
    work = work_of(scheduler.next(Submit))
    assert work.prompt.tools[0] == WEATHER
    assert [tool["function"]["name"] for tool in work.prompt.tools] == ["get_weather", "get_time"]
    assert work.constraint is None and not work.keep_special


@pytest.mark.usefixtures("qwen3")
def test_parallel_calls_streamed(gateway: RunningGateway, say: Say) -> None:
    say(CALL + "\n" + CALL)
    with gateway.openai() as client:
        chunks = list(client.chat.completions.create(**HELLO, tools=[WEATHER], stream=True))
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    first = [delta for delta in deltas if delta.index == 0]
    second = [delta for delta in deltas if delta.index == 1]
    for part in (first, second):
        assert part[0].function is not None
        assert (part[0].type, part[0].function.name) == ("function", "get_weather")
        assert part[0].id and all(delta.id is None for delta in part[1:])
        assert len(part) > 3  # the arguments come as they are made
        text = "".join(delta.function.arguments or "" for delta in part if delta.function)
        assert text == '{"city": "Paris"}'
    assert first[0].id != second[0].id
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert not any(chunk.choices[0].delta.content for chunk in chunks)


@pytest.mark.usefixtures("qwen3")
def test_stream_helper(gateway: RunningGateway, say: Say) -> None:
    say("Hm. " + CALL)
    with gateway.openai() as client:
        with client.chat.completions.stream(**HELLO, tools=[WEATHER]) as stream:
            kinds = [event.type for event in stream]
        answer = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    assert "content.done" in kinds
    assert calls_of(answer.choices[0].message) == [("get_weather", '{"city": "Paris"}')]


@pytest.mark.usefixtures("qwen3")
def test_text_where_tools_were_offered(gateway: RunningGateway, say: Say) -> None:
    for text in ("No tool helps.", "<tool_call>{broken", '<tool_call>{"name": "fly"}</tool_call>'):
        say(text)
        with gateway.openai() as client:
            [choice] = client.chat.completions.create(**HELLO, tools=[WEATHER]).choices
        assert (choice.message.content, choice.finish_reason) == (text, "stop")
        assert choice.message.tool_calls is None


@pytest.mark.usefixtures("qwen3")
def test_one_call_only(gateway: RunningGateway, say: Say) -> None:
    say(CALL + CALL)
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, tools=[WEATHER], parallel_tool_calls=False)
    assert len(calls_of(answer.choices[0].message)) == 1


@pytest.mark.usefixtures("qwen3")
def test_cut_call(gateway: RunningGateway, say: Say) -> None:
    say('<tool_call>{"name": "get_weather", "arguments": {"ci', reason=FinishReason.LENGTH)
    with gateway.openai() as client:
        [choice] = client.chat.completions.create(**HELLO, tools=[WEATHER]).choices
    assert choice.finish_reason == "length"
    assert calls_of(choice.message) == [("get_weather", '{"ci')]


@pytest.mark.usefixtures("qwen3")
def test_history(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say(CALL)
    with gateway.openai() as client:
        message = client.chat.completions.create(**HELLO, tools=[WEATHER]).choices[0].message
        assert message.tool_calls is not None
        result = {"role": "tool", "content": "Rain", "tool_call_id": message.tool_calls[0].id}
        history = [*HELLO["messages"], message, result]
        client.chat.completions.create(model=HELLO["model"], messages=history, tools=[WEATHER])
    scheduler.next(Submit)
    [_, called, result] = work_of(scheduler.next(Submit)).prompt.messages
    assert called["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
    assert (result["role"], result["tool_call_id"]) == ("tool", message.tool_calls[0].id)


def test_model_that_knows_no_tools_is_told(
    gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say
) -> None:
    say(CALL)
    call = {"id": "c", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "c"},
    ]
    with gateway.openai() as client:
        answer = client.chat.completions.create(
            model=HELLO["model"],
            messages=messages,  # type: ignore[arg-type]
            tools=[WEATHER, TIME],
        )
    assert calls_of(answer.choices[0].message) == [("get_weather", '{"city": "Paris"}')]
    prompt = work_of(scheduler.next(Submit)).prompt
    assert prompt.tools == ()
    system, called, result = prompt.messages
    assert system["content"].startswith("Be brief.\n\n") and "get_weather" in system["content"]
    assert called["content"] == '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>'
    assert result == {"role": "user", "content": "<tool_response>\nnoon\n</tool_response>"}


@pytest.mark.usefixtures("qwen3")
def test_functions_of_old(gateway: RunningGateway, say: Say) -> None:
    say(CALL)
    functions: Any = [WEATHER["function"]]
    with gateway.openai() as client:
        [choice] = client.chat.completions.create(**HELLO, functions=functions).choices
        chunks = list(client.chat.completions.create(**HELLO, functions=functions, stream=True))
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert choice.message.function_call is not None
    assert choice.message.function_call.arguments == '{"city": "Paris"}'
    deltas = [chunk.choices[0].delta.function_call for chunk in chunks]
    result = [delta for delta in deltas if delta is not None]
    assert result[0].name == "get_weather"
    assert "".join(delta.arguments or "" for delta in result) == '{"city": "Paris"}'
    assert chunks[-1].choices[0].finish_reason == "function_call"


# -- choices ---------------------------------------------------------------------------------------


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize(
    ("choice", "callable_", "listed"),
    [
        ("required", ["get_weather", "get_time"], True),
        (NAMED, ["get_weather"], False),
        (allowed("required", "get_time"), ["get_time"], True),
    ],
)
def test_enforced(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    say: Say,
    choice: Any,
    callable_: list[str],
    listed: bool,
) -> None:
    call = f'{{"name": "{callable_[0]}", "arguments": {{}}}}'
    say(f"[{call}]" if listed else call)
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, tools=[WEATHER, TIME], tool_choice=choice)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert calls_of(answer.choices[0].message) == [(callable_[0], "{}")]
    assert answer.choices[0].message.content is None
    work = work_of(scheduler.next(Submit))
    result = str(work.prompt)
    assert "get_weather" in result and "get_time" in result  # whatever the choice: it is cached so
    constraint = work.constraint
    assert constraint is not None and constraint.kind is ConstraintKind.JSON_SCHEMA
    schema = json.loads(constraint.source)
    assert (schema.get("type") == "array") is listed
    names = re.findall(r'"const": "(\w+)"', constraint.source)
    assert names == callable_


def test_none(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say(CALL)
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content == CALL
    assert answer.choices[0].finish_reason == "stop"
    assert len(work_of(scheduler.next(Submit)).prompt.messages) == 1


def test_strict_is_a_grammar(
    gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say
) -> None:
    say(CALL)
    strict: Any = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, tools=[strict])
    assert calls_of(answer.choices[0].message) == [("get_weather", '{"city": "Paris"}')]
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint is not None and constraint.kind is ConstraintKind.LARK


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required", "response_format": {"type": "json_object"}},
         "response_format"),
        ({"lark_grammar": 'start: "a"'}, "lark_grammar"),
    ],
)  # fmt: skip
def test_what_excludes_each_other(
    gateway: RunningGateway, fields: dict[str, Any], param: str
) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/chat/completions", json={**HELLO, "tools": [WEATHER], **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


# -- reasoning -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("qwen3")
def test_reasoning(gateway: RunningGateway, say: Say) -> None:
    say("<think>\nHm.\n</think>\n\nHello!")
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO)
        chunks = list(client.chat.completions.create(**HELLO, stream=True))
    message = answer.choices[0].message
    assert message.content == "Hello!"
    assert message.reasoning_content == message.reasoning == "Hm."
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    reasoned = answer.usage.completion_tokens_details.reasoning_tokens
    assert reasoned is not None and 0 < reasoned < answer.usage.completion_tokens
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "Hello!"
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thoughts == "Hm."


@pytest.mark.usefixtures("qwen3")
def test_reasoning_that_is_not_wanted(
    gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say
) -> None:
    say("<think>Hm.</think>Hello!")
    with gateway.openai() as client:
        body = {"include_reasoning": False}
        answer = client.chat.completions.create(**HELLO, reasoning_effort="none", extra_body=body)
    message = answer.choices[0].message
    assert message.content == "Hello!" and not hasattr(message, "reasoning_content")
    options = work_of(scheduler.next(Submit)).prompt.template_options
    assert options == {"reasoning_effort": "none", "enable_thinking": False}


@pytest.mark.usefixtures("qwen3")
def test_form_after_reasoning(
    gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say
) -> None:
    say('<think>Hm.</think>{"n": 1}')
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, response_format={"type": "json_object"})
    assert answer.choices[0].message.content == '{"n": 1}'
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint is not None and constraint.kind is ConstraintKind.LARK


# -- forms -----------------------------------------------------------------------------------------


class Country(BaseModel):
    name: str
    size: Literal["small", "large"]


def test_parse(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say('{"name": "France", "size": "large"}')
    with gateway.openai() as client:
        answer = client.chat.completions.parse(**HELLO, response_format=Country)
        with client.chat.completions.stream(**HELLO, response_format=Country) as stream:
            streamed = stream.get_final_completion()
    expected = Country(name="France", size="large")
    assert answer.choices[0].message.parsed == streamed.choices[0].message.parsed == expected
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint is not None and constraint.kind is ConstraintKind.JSON_SCHEMA
    assert set(json.loads(constraint.source)["properties"]) == {"name", "size"}


def test_parse_tools(gateway: RunningGateway, say: Say) -> None:
    class get_weather(BaseModel):
        city: str

    say(f"<tool_call>{BARE}</tool_call>")
    with gateway.openai() as client:
        tool = openai.pydantic_function_tool(get_weather)
        answer = client.chat.completions.parse(**HELLO, tools=[tool])
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.parsed_arguments == get_weather(city="Paris")


SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
SHUT = closed(SCHEMA)
WRAPPED = {"name": "x", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    ("fields", "kind", "source"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": WRAPPED}}, "json_schema",
         SHUT),
        ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, "json_schema",
         SHUT),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "json_schema", SHUT),
        ({"response_format": {"type": "json_object"}}, "json_object", None),
        ({"response_format": {"type": "regex", "regex": "a+"}}, "regex", "a+"),
        ({"response_format": {"type": "lark_grammar", "lark_grammar": 'start: "a"'}}, "lark",
         'start: "a"'),
        ({"guided_json": SCHEMA}, "json_schema", SHUT),
        ({"guided_json": json.dumps(SCHEMA)}, "json_schema", SHUT),
        ({"guided_regex": "a+"}, "regex", "a+"),
        ({"guided_choice": ["yes", 'n"o']}, "lark", 'start: "yes" | "n\\"o"'),
        ({"guided_grammar": 'start: "a"'}, "lark", 'start: "a"'),
        ({"lark_grammar": 'start: "a"'}, "lark", 'start: "a"'),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SHUT),
        ({"structured_outputs": {"choice": ["a"]}}, "lark", 'start: "a"'),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, "lark", 'start: "a"'),
        ({"structured_outputs": {"json_object": True}}, "json_object", None),
    ],
)  # fmt: skip
def test_every_way_to_ask_for_a_form(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    fields: dict[str, Any],
    kind: str,
    source: Any,
) -> None:
    with gateway.http() as http:
        assert http.post("/v1/chat/completions", json={**HELLO, **fields}).status_code == 200
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint is not None and constraint.kind == kind
    if source is not None:
        given = constraint.source
        assert (json.loads(given) if isinstance(source, dict) else given) == source


# -- several answers, logprobs ---------------------------------------------------------------------


def test_several_answers(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say("First answer", "Second one")
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, n=2)
        chunks = list(client.chat.completions.create(**HELLO, n=2, stream=True))
    assert work_of(scheduler.next(Submit)).answers == 2
    texts = [(choice.index, choice.message.content) for choice in answer.choices]
    assert texts == [(0, "First answer"), (1, "Second one")]
    streamed = {0: "", 1: ""}
    for chunk in chunks:
        [choice] = chunk.choices
        streamed[choice.index] += choice.delta.content or ""
    assert streamed == dict(texts)
    assert sum(chunk.choices[0].delta.role is not None for chunk in chunks) == 2
    assert sum(chunk.choices[0].finish_reason is not None for chunk in chunks) == 2


def test_logprobs(gateway: RunningGateway, say: Say) -> None:
    say("Grüße an")
    with gateway.openai() as client:
        asked_for: dict[str, Any] = {**HELLO, "logprobs": True, "top_logprobs": 1}
        [choice] = client.chat.completions.create(**asked_for).choices
        chunks = list(client.chat.completions.create(**asked_for, stream=True))
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert [token.token for token in choice.logprobs.content] == ["Grü", "ße ", "an"]
    [first, *_] = choice.logprobs.content
    assert (first.logprob, first.bytes) == (-0.5, list("Grü".encode()))
    assert [(top.token, top.logprob) for top in first.top_logprobs] == [("Grü", -0.5)]
    result = [chunk.choices[0] for chunk in chunks if chunk.choices[0].logprobs]
    assert [choice.delta.content for choice in result] == ["Grü", "ße ", "an"]


@pytest.mark.usefixtures("qwen3")
def test_no_logprob_is_lost_with_a_parser(gateway: RunningGateway, say: Say) -> None:
    say("<think>Hm.</think>Yes. " + CALL)
    with gateway.openai() as client:
        chunks = list(
            client.chat.completions.create(**HELLO, tools=[WEATHER], logprobs=True, stream=True)
        )
    logprobs = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices]
    tokens = [token.token for one in logprobs if one and one.content for token in one.content]
    assert "".join(tokens) == "<think>Hm.</think>Yes. " + CALL


# -- other clients ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("qwen3")
def test_async_client(gateway: RunningGateway, say: Say) -> None:
    say("Yes. " + CALL)

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key="any", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(**HELLO, tools=[WEATHER], stream=True)
            return [chunk.choices[0].finish_reason or "" async for chunk in stream]

    assert asyncio.run(ask())[-1] == "tool_calls"


def test_raw_response(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            **HELLO, extra_headers={"x-client-request-id": "mine", "traceparent": "00-a-b-01"}
        )
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-client-request-id"] == "mine"
    assert raw.headers["traceparent"] == "00-a-b-01"
    assert raw.parse().choices[0].message.content == "One two three."
