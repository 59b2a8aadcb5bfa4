"""Whatever a body holds, it is understood or refused by name: nothing else can happen to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.generation.preparation import prepare
from cupola.gateway.http.errors import ApiError, from_validation
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.chat import generation_of as chat_generation
from cupola.gateway.openai.completions import generation_of as completion_generation
from cupola.gateway.toolcalls.known import BY_NAME, THINK
from cupola.service.api_tables import names

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
WORDS = st.sampled_from([
    "auto", "none", "required", "function", "allowed_tools", "json_schema", "json_object", "text",
    "regex", "content", "user", "assistant", "tool", "f", "5m", "-1", "9" * 400, "cpu", "1",
])  # fmt: skip
KEYS = st.sampled_from([
    "type", "function", "name", "parameters", "strict", "json_schema", "schema", "allowed_tools",
    "mode", "tools", "role", "content", "tool_calls", "arguments", "json", "choice", "regex",
    "$ref", "include_usage", "top_k", "properties", "1",
])  # fmt: skip
LIKELY = st.recursive(
    WORDS | st.integers(-1, 20) | st.floats(0, 1) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}
MESSAGE = {"role": "user", "content": "Hi"}
FORMATS = [replace(answer_format, reasoning=(THINK,)) for answer_format in BY_NAME.values()]


def bodies(params: list[str], good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {param: LIKELY | ANYTHING for param in params}
    wrong = st.fixed_dictionaries({}, optional=optional)
    few = st.lists(st.sampled_from(params), max_size=4).flatmap(
        lambda chosen: st.fixed_dictionaries({name: LIKELY | ANYTHING for name in chosen})
    )
    return (wrong | few).map(lambda fields: good | fields)


def prepare_all(request: GenerationRequest) -> None:
    for answer_format in FORMATS:
        try:
            prepared = prepare(request, answer_format, lambda: "call_1")
        except ApiError as refusal:
            assert refusal.status == 400 and refusal.param
            continue
        if prepared.parser is not None:
            prepared.parser(0).feed("text")


CHAT = {"model": "m", "messages": [MESSAGE], "tools": [TOOL]}


@pytest.mark.slow
@given(bodies(names(ChatRequest), CHAT))
def test_chat(body: dict[str, Any]) -> None:
    try:
        parsed = ChatRequest.model_validate_json(json.dumps(body))
    except ValidationError as error:
        refusal = from_validation(error)
        assert refusal.param and refusal.param.split(".")[0].split("[")[0] in body
    else:
        prepare_all(chat_generation(parsed))


@pytest.mark.slow
@given(bodies(names(CompletionRequest), {"model": "m", "prompt": "Hi"}))
def test_completion(body: dict[str, Any]) -> None:
    try:
        parsed = CompletionRequest.model_validate_json(json.dumps(body))
    except ValidationError as error:
        refusal = from_validation(error)
        assert refusal.param and refusal.param.split(".")[0].split("[")[0] in body
    else:
        for prompt in parsed.prompts:
            prepare_all(completion_generation(parsed, prompt))
