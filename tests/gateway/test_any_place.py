"""Any value at any place of a body is taken or refused by a name; nothing else happens to it.

The bodies have all that is read by hand: content in parts, items of other tools, forced calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from cupola.gateway.anthropic.body import MessagesRequest
from cupola.gateway.http.errors import ApiError, from_validation
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.ollama.body import OllamaChat, OllamaEmbed, OllamaGenerate
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.chat import generation_of as chat_generation
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.gateway.openai.responses.endpoints import generation_of as response_generation
from cupola.gateway.openai.responses.history import input_items

ODD: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, 1e308, "", "x", "\0", [], {}, [[]], [{}], [None], [-1], ["x"],
    {"x": 1}, {"type": "x"}, {"type": None}, {"type": []}, [{"type": "text"}], [{"type": {}}],
    [{"role": "user"}], [{"role": [], "content": []}],
]  # fmt: skip
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
GRAMMAR = {"syntax": "regex", "definition": "[a-c]+"}
CHAT_TOOLS = [
    {"type": "function", "function": FUNCTION},
    {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}}},
]
TEXT = [{"type": "text", "text": "x"}]
RICH: list[tuple[type[Endpoint], dict[str, Any]]] = [
    (ChatRequest, {
        "messages": [
            {"role": "user", "content": TEXT},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}},
                {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "r"},
        ],
        "tools": CHAT_TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "c"}},
        "logit_bias": {"5": 1}, "stream": True, "stream_options": {"include_usage": True},
        "prediction": {"type": "content", "content": TEXT}, "stop": ["x"],
    }),
    (ChatRequest, {
        "messages": [{"role": "user", "content": "Hi"}], "tools": CHAT_TOOLS,
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}],
        }},
    }),
    (ChatRequest, {
        "messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": {"a": 1},
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "n", "schema": FUNCTION["parameters"], "strict": True,
        }},
    }),
    (CompletionRequest, {"prompt": [[1, 2], [3]], "stop": ["x"], "logit_bias": {"5": 1}}),
    (ResponsesRequest, {
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call", "call_id": "0", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "0", "output": [
                {"type": "input_text", "text": "a"},
            ]},
            {"type": "custom_tool_call", "call_id": "1", "name": "c", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "1", "output": "x"},
            {"type": "reasoning", "id": "r", "encrypted_content": "x", "summary": [
                {"type": "summary_text", "text": "a"},
            ]},
            {"type": "local_shell_call", "call_id": "2", "action": {"command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "2", "output": "x"},
            {"type": "apply_patch_call", "call_id": "3", "operation": {"type": "delete_file"}},
            {"type": "apply_patch_call_output", "call_id": "3", "output": [{"stdout": "a"}]},
            {"type": "web_search_call", "id": "w", "status": "completed"},
        ],
        "tools": [
            {"type": "function", **FUNCTION},
            {"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}},
            {"type": "web_search"}, {"type": "namespace", "name": "n", "tools": [FUNCTION]},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [
            {"type": "custom", "name": "c"},
        ]},
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "metadata": {"a": "b"},
        "reasoning": {"effort": "low", "summary": "auto"}, "top_logprobs": 2,
        "include": ["message.output_text.logprobs"],
    }),
    (MessagesRequest, {
        "model": "m", "max_tokens": 2, "system": TEXT, "stop_sequences": ["x"],
        "messages": [
            {"role": "user", "content": TEXT},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "f", "input": {}},
                {"type": "thinking", "thinking": "x", "signature": "y"},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": TEXT, "is_error": False},
            ]},
        ],
        "tools": [{"name": "f", "input_schema": FUNCTION["parameters"]}],
        "tool_choice": {"type": "tool", "name": "f"}, "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }),
    (OllamaChat, {
        "model": "m", "options": {"num_predict": 2, "stop": ["x"]}, "format": {"type": "object"},
        "messages": [
            {"role": "user", "content": "a", "images": []},
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "f", "arguments": {}}},
            ]},
            {"role": "tool", "content": "x", "tool_name": "f"},
        ],
        "tools": CHAT_TOOLS[:1],
    }),
    (OllamaGenerate, {"model": "m", "prompt": "x", "think": False, "options": {"seed": 1}}),
    (OllamaEmbed, {"model": "m", "input": ["x"], "options": {}}),
]  # fmt: skip


def places(value: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner: Any = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, list) else inner:
        yield (*before, key)
        yield from places(part, (*before, key))


def changed(body: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    copy: Any = deepcopy(body)
    inner = copy
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return dict(copy)


def use(kind: type[Endpoint], content: str) -> None:
    """What an endpoint makes of a body before it asks the scheduler."""
    parsed = kind.model_validate_json(content)
    if isinstance(parsed, ChatRequest):
        chat_generation(parsed)
    elif isinstance(parsed, ResponsesRequest):
        response_generation(parsed, [])
        input_items(json.loads(content)["input"], "resp_1")
    elif isinstance(parsed, MessagesRequest):
        parsed.generation(parsed.sampling)
    elif isinstance(parsed, (OllamaChat, OllamaGenerate)):
        _ = parsed.request


@pytest.mark.parametrize(("kind", "body"), RICH, ids=lambda each: getattr(each, "__name__", ""))
def test_any_value_at_any_place(kind: type[Endpoint], body: dict[str, Any]) -> None:
    use(kind, json.dumps(body))
    for place in places(body):
        for value in ODD:
            try:
                use(kind, json.dumps(changed(body, place, value)))
            except ValidationError as error:
                assert from_validation(error).param
            except ApiError as refusal:
                assert refusal.status == 400
                assert refusal.param
