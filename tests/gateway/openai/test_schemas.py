"""What a request body may hold, and what is said about the rest."""

from __future__ import annotations

import json
import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import EmbeddingCreateParams
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as response_params
from pydantic import ValidationError

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.http.errors import ApiError, from_validation
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.body.embeddings import EmbeddingsRequest
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.scheduler.protocol.tasks import SamplingParams
from tests.cases import case

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}


def parse(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate_json(json.dumps(HELLO | fields))


def refused(body: str | bytes | None = None, **fields: Any) -> ApiError:
    with pytest.raises(ValidationError) as raised:
        ChatRequest.model_validate_json(json.dumps(HELLO | fields) if body is None else body)
    error = from_validation(raised.value)
    assert error.status == 400
    return error


def sampling(**fields: Any) -> SamplingParams:
    parsed = parse(**fields)
    return parsed.sampling(parsed.token_limit, parsed.best_logprobs)


def test_plain() -> None:
    assert sampling() == SamplingParams()
    assert [m.for_template() for m in parse().messages] == [{"role": "user", "content": "Hello!"}]


def test_newer_name_of_max_tokens_wins() -> None:
    assert parse(max_tokens=5).token_limit == 5
    assert parse(max_tokens=5, max_completion_tokens=7).token_limit == 7


@pytest.mark.parametrize(
    "fields", [{"top_k": 7}, {"metadata": {"top_k": "7"}}, {"top_k": 7, "metadata": {"top_k": "9"}}]
)
def test_top_k(fields: dict[str, Any]) -> None:
    assert sampling(**fields).top_k == 7


@pytest.mark.parametrize("everything", [0, -1])
def test_top_k_of_all_tokens(everything: int) -> None:
    assert sampling(top_k=everything).top_k == 0


@pytest.mark.parametrize(
    "fields", [{"seed": 0}, {"random_seed": 0}, {"metadata": {"random_seed": "0", "else": "x"}}]
)
def test_seed(fields: dict[str, Any]) -> None:
    assert sampling(**fields).seed == 0


def test_null_is_not_given() -> None:
    optional = set(ChatRequest.model_fields) - {"model", "messages"}
    parse(**dict.fromkeys(optional))


def test_every_sampling_parameter_reaches_the_worker() -> None:
    same: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "min_tokens": 3,
        "frequency_penalty": 0.5, "presence_penalty": -0.5, "repetition_penalty": 1.1,
        "ignore_eos": True, "max_tokens": 9, "top_k": 4, "seed": 5,
    }  # fmt: skip
    further = {"stop": ["a", "b"], "stop_token_ids": [7], "logit_bias": {"50256": -100}}
    best = {"logprobs": True, "top_logprobs": 2}
    assert sampling(**same, **further, **best) == SamplingParams(
        **same, stop=("a", "b"), stop_token_ids=(7,), logit_bias={50256: -100.0}, logprobs=2
    )


def test_logprobs_of_the_chosen_tokens_only() -> None:
    assert sampling(logprobs=True).logprobs == 0
    assert sampling(logprobs=False).logprobs is None


def test_unknown_parameter_is_refused_by_name() -> None:
    error = refused(repetition_penalti=1.1)
    assert (error.code, error.param) == ("unknown_parameter", "repetition_penalti")
    assert "did you mean 'repetition_penalty'?" in error.message


def test_many_and_long_unknown_names_are_not_compared_with_ours() -> None:
    many = {f"own{number}": number for number in range(10_000)}
    parse(**many)
    parse(**{"temperature" * 10_000: 1})
    misspelled: dict[str, Any] = {"temprature": 1} | many
    assert refused(**misspelled).code == "unknown_parameter"


def literals(annotation: Any) -> set[Any]:
    """The values of all ``Literal`` in a type."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return set(arguments)
    return set().union(*map(literals, arguments))


@pytest.mark.parametrize(
    ("offered", "body"),
    [
        (chat_params.CompletionCreateParamsStreaming, ChatRequest),
        (completion_params.CompletionCreateParamsStreaming, CompletionRequest),
        (response_params.ResponseCreateParamsStreaming, ResponsesRequest),
        (EmbeddingCreateParams, EmbeddingsRequest),
    ],
)
def test_every_parameter_of_the_client_is_known(offered: type, body: type[Endpoint]) -> None:
    params = get_type_hints(offered)
    assert len(params) >= 5
    assert set(params) <= set(body.model_fields)
    for name, annotation in params.items():
        known = literals(body.model_fields[name].annotation)
        assert not known or literals(annotation) <= known, name


def test_fields_that_no_api_knows_are_accepted() -> None:
    parse(anything=None)
    parse(trace_of_some_client={"id": 7})


@pytest.mark.parametrize(
    "fields",
    [
        {"store": False, "audio": {}, "modalities": ["text"]},
        {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
        {"logprobs": False, "top_logprobs": 0, "logit_bias": {}, "n": 1},
        {"response_format": {"type": "text"}, "service_tier": "auto", "verbosity": "low"},
    ],
)
def test_parameters_that_ask_for_nothing(fields: dict[str, Any]) -> None:
    parse(**fields)


ASKING: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy"},
    "store": True,
    "web_search_options": {},
    "moderation": {"model": "omni-moderation-latest"},
    "prompt_cache_options": {"mode": "explicit"},
}


def test_every_refusal_is_tried() -> None:
    assert set(ASKING) == {param for param, _, _ in ChatRequest.refused}


@pytest.mark.parametrize("param", ASKING)
def test_unsupported_parameter(param: str) -> None:
    error = refused(**{param: ASKING[param]})
    assert (error.code, error.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"ttl": 30}, 30.0),
        ({"keep_alive": 5}, 5.0),
        ({"keep_alive": "1h30m"}, 5400.0),
        ({"keep_alive": "90"}, 90.0),
        ({"keep_alive": -5}, -1.0),
        ({"keep_alive": "-1m"}, -1.0),
        ({"keep_alive": "5m", "ttl": 0}, 0.0),
    ],
)
def test_time_in_memory(fields: dict[str, Any], seconds: float | None) -> None:
    assert parse(**fields).seconds_loaded == seconds


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_execution_provider(name: str) -> None:
    assert parse(ep=name).ep is ExecutionProvider.CPU


def test_template_options() -> None:
    parsed = parse(reasoning_effort="none", verbosity="low", chat_template_kwargs={"x": 1})
    assert parsed.template_options == {
        "reasoning_effort": "none",
        "enable_thinking": False,
        "verbosity": "low",
        "x": 1,
    }
    assert parsed.wants_reasoning is False
    assert parse(chat_template_kwargs={"enable_thinking": True}).wants_reasoning is True
    assert parse().wants_reasoning is None


# -- messages --------------------------------------------------------------------------------------


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    [message] = parse(messages=[{"role": "user", "content": parts}]).messages
    assert message.content == "ab"


def test_developer_is_system() -> None:
    [message] = parse(messages=[{"role": "developer", "content": "x"}]).messages
    assert message.for_template()["role"] == "system"


def test_tool_history_reaches_the_template() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    assert [message.for_template() for message in parse(messages=history).messages] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {}}}
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]


def test_legacy_calls_are_told_as_todays() -> None:
    history = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{"}},
        {"role": "function", "name": "f", "content": "42"},
    ]
    call = {"type": "function", "function": {"name": "f", "arguments": "{"}}
    assert [message.for_template() for message in parse(messages=history).messages] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "name": "f"},
    ]


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"content": "x"}, "messages[0].role", "missing_required_parameter"),
        ({"role": "user"}, "messages[0].content", "invalid_value"),
        ({"role": "user", "content": None}, "messages[0].content", "invalid_value"),
        ({"role": "wizard", "content": "x"}, "messages[0].role", "invalid_value"),
        ({"role": "user", "content": 5}, "messages[0].content", "invalid_type"),
        ({"role": "user", "content": ["x"]}, "messages[0].content", "invalid_value"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content", "invalid_value"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
            "messages[0].content",
            "unsupported_parameter",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "messages[0].content",
            "unsupported_parameter",
        ),
        ("x", "messages[0]", "invalid_type"),
    ],
)
def test_bad_message(message: Any, param: str, code: str) -> None:
    error = refused(messages=[message])
    assert (error.param, error.code) == (param, code)


def test_images_are_refused_in_words() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    assert "image_url" in refused(messages=[{"role": "user", "content": [image]}]).message


# -- bad bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["", "{", "\xff".encode("latin-1"), '{"a": "\\ud800"}', "[" * 9999]
)
def test_not_json(body: str | bytes) -> None:
    assert refused(body).code == "invalid_json"


@pytest.mark.parametrize("body", ["[]", "3", "null", '"x"'])
def test_not_an_object(body: str) -> None:
    error = refused(body)
    assert (error.code, error.param) == ("invalid_type", None)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": 3}, "model", "invalid_type"),
        ({"model": ""}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": "9"}, "max_tokens", "invalid_type"),
        ({"max_tokens": 2.5}, "max_tokens", "invalid_type"),
        ({"temperature": "0"}, "temperature", "invalid_type"),
        ({"temperature": -0.1}, "temperature", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"top_p": 1.01}, "top_p", "invalid_value"),
        ({"top_k": -2}, "top_k", "invalid_value"),
        ({"stop": ""}, "stop[0]", "invalid_value"),
        ({"stop": ["a", ""]}, "stop[1]", "invalid_value"),
        ({"stop": ["a"] * 17}, "stop", "invalid_value"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"tool_choice": 3}, "tool_choice", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "web_search", "custom": {}}]}, "tools[0].type", "invalid_value"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a"}}] * 2},
            "tools",
            "invalid_value",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}}},
            "tool_choice.allowed_tools.mode",
            "invalid_value",
        ),
        (
            {"function_call": {"name": "g"}, "functions": [{"name": "f"}]},
            "function_call",
            "invalid_value",
        ),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "invalid_value"),
        ({"keep_alive": "soon"}, "keep_alive", "invalid_value"),
        ({"ep": "tpu"}, "ep", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema", "json_schema": 3}},
            "response_format.json_schema",
            "invalid_value",
        ),
        (
            {"response_format": {"type": "lark_grammar"}},
            "response_format.lark_grammar",
            "invalid_value",
        ),
        ({"guided_json": "{"}, "guided_json", "invalid_value"),
        ({"guided_choice": []}, "guided_choice", "invalid_value"),
        ({"guided_regex": "a", "guided_json": {}}, "guided_regex", "invalid_value"),
        ({"prediction": {"type": "x", "content": ""}}, "prediction.type", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs", "invalid_value"),
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message",
            "invalid_value",
        ),
        ({"metadata": {"top_k": "many"}}, "metadata.top_k", "invalid_value"),
        ({"metadata": "x"}, "metadata", "invalid_type"),
        (
            {"stream_options": {"include_usage": "x"}},
            "stream_options.include_usage",
            "invalid_type",
        ),
        ({"ttl": -2}, "ttl", "invalid_value"),
    ],
)
def test_bad_value(fields: dict[str, Any], param: str, code: str) -> None:
    error = refused(**fields)
    assert (error.param, error.code) == (param, code)
    assert param in error.message or code == "invalid_value"


@pytest.mark.parametrize("param", ["messages"])
def test_missing(param: str) -> None:
    body = {name: value for name, value in HELLO.items() if name != param}
    error = refused(json.dumps(body))
    assert (error.code, error.param) == ("missing_required_parameter", param)


NUMBERS = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "seed",
           "random_seed", "ttl", "n", "frequency_penalty", "presence_penalty",
           "top_logprobs", "min_p", "typical_p", "repetition_penalty",
           "min_tokens")  # fmt: skip


@pytest.mark.parametrize("param", NUMBERS)
def test_no_number(param: str) -> None:
    for value in ("NaN", "Infinity", "-Infinity", "true", "1e999", str(10**30)):
        if (param, value) == ("ttl", str(10**30)):
            continue  # long, but a time
        with case(value):
            body = json.dumps(HELLO)[:-1] + f', "{param}": {value}}}'
            assert refused(body).param == param


@given(
    fields=st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, st.integers() | st.floats()))
)
def test_any_numbers_are_taken_or_refused(fields: dict[str, float]) -> None:
    body = json.dumps(HELLO | fields)
    try:
        parsed = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        refusal = from_validation(error)
        assert refusal.param in NUMBERS and refusal.param in refusal.message
    else:
        assert all(math.isfinite(getattr(parsed, name)) for name in fields)
