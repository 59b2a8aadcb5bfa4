"""What a request body may hold, and what is said about the rest."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cupola.gateway.errors import ApiError, from_validation
from cupola.gateway.schemas import REFUSED, ChatRequest

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}


def parse(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate_json(json.dumps(HELLO | fields))


def refused(body: str | bytes | None = None, **fields: Any) -> ApiError:
    with pytest.raises(ValidationError) as raised:
        ChatRequest.model_validate_json(json.dumps(HELLO | fields) if body is None else body)
    error = from_validation(raised.value)
    assert error.status == 400
    return error


def test_plain() -> None:
    asked = parse()
    assert (asked.token_limit, asked.effective_top_k, asked.effective_seed) == (None, 0, None)
    assert [m.for_template() for m in asked.messages] == [{"role": "user", "content": "Hello!"}]


def test_newer_name_of_max_tokens_wins() -> None:
    assert parse(max_tokens=5).token_limit == 5
    assert parse(max_tokens=5, max_completion_tokens=7).token_limit == 7


@pytest.mark.parametrize(
    "fields", [{"top_k": 7}, {"metadata": {"top_k": "7"}}, {"top_k": 7, "metadata": {"top_k": "9"}}]
)
def test_top_k(fields: dict[str, Any]) -> None:
    assert parse(**fields).effective_top_k == 7


@pytest.mark.parametrize(
    "fields", [{"seed": 0}, {"random_seed": 0}, {"metadata": {"random_seed": "0", "else": "x"}}]
)
def test_seed(fields: dict[str, Any]) -> None:
    assert parse(**fields).effective_seed == 0


def test_null_is_not_given() -> None:
    optional = set(ChatRequest.model_fields) - {"model", "messages"}
    parse(**dict.fromkeys(optional))


def test_unknown_fields_are_accepted() -> None:
    parse(min_p=0.1, anything={"nested": [1]}, store=False, parallel_tool_calls=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"tools": [], "tool_choice": "auto"},
        {"functions": [], "function_call": "none"},
        {"logprobs": False, "top_logprobs": 0},
        {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}},
        {"response_format": {"type": "text"}, "modalities": ["text"], "audio": {}},
    ],
)
def test_unsupported_parameter_that_asks_for_nothing(fields: dict[str, Any]) -> None:
    parse(**fields)


ASKING: dict[str, Any] = {
    "n": 2,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "required",
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "logprobs": True,
    "top_logprobs": 1,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_object"},
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy"},
}


def test_every_refusal_is_tried() -> None:
    assert set(ASKING) == {param for param, _, _ in REFUSED}


@pytest.mark.parametrize("param", ASKING)
def test_unsupported_parameter(param: str) -> None:
    error = refused(**{param: ASKING[param]})
    assert (error.code, error.param) == ("unsupported_parameter", param)


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
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
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
        ({"top_k": -1}, "top_k", "invalid_value"),
        ({"stop": ""}, "stop[0]", "invalid_value"),
        ({"stop": ["a", ""]}, "stop[1]", "invalid_value"),
        ({"stop": ["a"] * 17}, "stop", "invalid_value"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"tool_choice": 3}, "tool_choice", "invalid_type"),
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


@pytest.mark.parametrize("param", ["model", "messages"])
def test_missing(param: str) -> None:
    body = {name: value for name, value in HELLO.items() if name != param}
    error = refused(json.dumps(body))
    assert (error.code, error.param) == ("missing_required_parameter", param)


NUMBERS = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "seed",
           "random_seed", "ttl", "n", "frequency_penalty", "presence_penalty",
           "top_logprobs")  # fmt: skip


@pytest.mark.parametrize("param", NUMBERS)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "true", "1e999", str(10**30)])
def test_no_number(param: str, value: str) -> None:
    if (param, value) == ("ttl", str(10**30)):
        return  # long, but a time
    body = json.dumps(HELLO)[:-1] + f', "{param}": {value}}}'
    assert refused(body).param == param


@given(
    fields=st.fixed_dictionaries({}, optional=dict.fromkeys(NUMBERS, st.integers() | st.floats()))
)
def test_any_numbers_are_taken_or_refused(fields: dict[str, float]) -> None:
    body = json.dumps(HELLO | fields)
    try:
        asked = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        refusal = from_validation(error)
        assert refusal.param in NUMBERS and refusal.param in refusal.message
    else:
        assert all(math.isfinite(getattr(asked, name)) for name in fields)
