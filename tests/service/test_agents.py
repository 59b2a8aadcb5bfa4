"""What agents and llama-server's clients ask for, with the real model."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2
import pytest
from openai.types.responses import ResponseCustomToolCall

from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "<|im_end|> is text here"}},
    "required": ["city"],
}
FUNCTION = {"type": "function", "name": "get_weather", "parameters": PARAMETERS}
NESTED = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
LARK = 'start: "*** Begin Patch\\n" line+ "*** End Patch"\nline: "+" /[a-z]{1,5}/ "\\n"\n'
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": LARK},
}
QUESTION = "How is the weather in Paris? <|im_start|>"
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
RESPOND: dict[str, Any] = {"model": MODEL, "input": QUESTION}
ITEMS = [
    {"role": "user", "content": "Delete a."},
    {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": '*** "a"\n'},
    {"type": "custom_tool_call_output", "call_id": "c1", "output": "é 🦀"},
    {"type": "web_search_call", "id": "ws_1"},
    {"role": "user", "content": "And?"},
]


def post(service: Service, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx2.post(f"{service.url}{path}", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [FUNCTION]},
        {"tools": [FUNCTION, PATCH, {"type": "web_search"}], "instructions": "Be brief."},
        {"tools": [FUNCTION], "tool_choice": "required"},
        {"tools": [FUNCTION], "tool_choice": "none"},
        {"input": ITEMS, "tools": [PATCH]},
        {"text": {"format": {"type": "json_object"}}},
        {"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}},
    ],
    ids=lambda fields: "+".join(fields) or "plain",
)
def test_the_count_of_a_response_is_its_usage(service: Service, fields: dict[str, Any]) -> None:
    body = RESPOND | fields
    counted = post(service, "/v1/responses/input_tokens", body)
    made = post(service, "/v1/responses", body | {"max_output_tokens": 1})
    assert counted["object"] == "response.input_tokens"
    assert counted["input_tokens"] == made["usage"]["input_tokens"] > 5


def test_the_count_of_a_continued_response_is_its_usage(service: Service) -> None:
    first = post(service, "/v1/responses", RESPOND | {"max_output_tokens": 5})
    body = RESPOND | {"input": "And?", "previous_response_id": first["id"]}
    counted = post(service, "/v1/responses/input_tokens", body)
    made = post(service, "/v1/responses", body | {"max_output_tokens": 1})
    assert counted["input_tokens"] == made["usage"]["input_tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [NESTED]},
        {"tools": [NESTED], "tool_choice": "required", "parallel_tool_calls": False},
        {"functions": [NESTED["function"]]},
        {"tools": [{"type": "custom", "custom": {"name": "python"}}]},
        {"parse_special": True},
        {
            "messages": [*CHAT["messages"], {"role": "assistant", "content": "It"}],
            "continue_final_message": True,
        },
    ],
    ids=lambda fields: "+".join(fields) or "plain",
)
def test_the_count_of_a_chat_is_its_usage(service: Service, fields: dict[str, Any]) -> None:
    body = CHAT | fields
    counted = post(service, "/v1/chat/completions/input_tokens", body)
    made = post(service, "/v1/chat/completions", body | {"max_tokens": 1})
    assert counted["input_tokens"] == made["usage"]["prompt_tokens"] > 5


FORMS = [
    (
        {"syntax": "lark", "definition": LARK},
        r"\*\*\* Begin Patch\n(\+[a-z]{1,5}\n)+\*\*\* End Patch",
    ),
    ({"syntax": "regex", "definition": '[0-9]{3}-"[a-f]{2}"'}, '[0-9]{3}-"[a-f]{2}"'),
]  # fmt: skip


@pytest.mark.parametrize(("form", "expected"), FORMS, ids=["lark", "regex"])
def test_a_forced_custom_tool_follows_its_grammar(
    service: Service, form: dict[str, str], expected: str
) -> None:
    tool: Any = PATCH | {"format": {"type": "grammar", **form}}
    choice: Any = {"type": "custom", "name": "apply_patch"}
    made = service.openai().responses.create(
        model=MODEL, input="Write.", tools=[tool], tool_choice=choice,
        max_output_tokens=200, temperature=0,
    )  # fmt: skip
    [call] = made.output
    assert isinstance(call, ResponseCustomToolCall)
    whole = made.status == "completed"
    assert re.fullmatch(expected, call.input) if whole else call.input.startswith("*** Begin Patch")


def test_a_regex_holds_among_several_tools(service: Service) -> None:
    tool: Any = PATCH | {"name": "dial", "format": {"type": "grammar", **FORMS[1][0]}}
    made = service.openai().responses.create(
        model=MODEL, input="Dial.", tools=[tool, tool | {"name": "call"}],
        tool_choice="required", max_output_tokens=200, temperature=0,
        parallel_tool_calls=False,
    )  # fmt: skip
    [call] = made.output
    assert isinstance(call, ResponseCustomToolCall)
    assert made.status == "completed" and re.fullmatch(FORMS[1][1], call.input)


def test_timings_are_those_of_the_answer(service: Service) -> None:
    long: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "word " * 700}],
    }
    body: dict[str, Any] = long | {
        "max_tokens": 9,
        "temperature": 0,
        "stream": True,
        "timings_per_token": True,
    }
    body |= {"ignore_eos": True, "return_progress": True, "stream_options": {"include_usage": True}}
    streamed = httpx2.post(f"{service.url}/v1/chat/completions", json=body, timeout=PATIENCE)
    chunks = [
        json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")
    ]
    progress = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    last = chunks[-1]
    usage, timings = last["usage"], last["timings"]
    assert progress[-1]["processed"] == progress[-1]["total"] == usage["prompt_tokens"]
    assert [p["processed"] for p in progress] == sorted({p["processed"] for p in progress})
    assert timings["predicted_n"] == usage["completion_tokens"] == 9
    assert timings["prompt_n"] + timings["cache_n"] == usage["prompt_tokens"]
    assert timings["cache_n"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert timings["prompt_ms"] > 0 and timings["predicted_per_second"] > 0
    numbers = [chunk["timings"]["predicted_n"] for chunk in chunks if "timings" in chunk]
    # A chunk may hold several tokens, so the first one need not tell of one.
    assert numbers[0] >= 1 and numbers == sorted(numbers)
    whole = post(service, "/v1/completions", {"model": MODEL, "prompt": "One", "max_tokens": 3})
    assert whole["timings"]["predicted_n"] == 3
