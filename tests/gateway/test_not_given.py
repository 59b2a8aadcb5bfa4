"""null is as good as a field that is not there, in every body; and no model is the default one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

import cupola.gateway.apis  # every body there is  # noqa: F401
from cupola.gateway.http.validation import Body
from cupola.gateway.ollama.body import OllamaChat
from cupola.gateway.openai.responses.queries import PageQuery
from tests.cases import case
from tests.gateway.running_gateway import HELLO, MODEL_ID, RunningGateway, request, status_of


def bodies(base: type[Body] = Body) -> Iterator[type[Body]]:
    for body in base.__subclasses__():
        if body.__module__.startswith("cupola."):
            yield body
            yield from bodies(body)


BODIES = sorted({body for body in bodies() if not issubclass(body, PageQuery)}, key=str)


@pytest.mark.parametrize("body", BODIES)  # but for those of URLs, which hold no null
def test_every_optional_field_takes_null(body: type[Body]) -> None:
    for field, info in body.model_fields.items():
        annotated: Any = info.annotation
        for part in info.metadata:
            annotated = Annotated[annotated, part]
        if not info.is_required():
            with case(field):
                TypeAdapter(annotated).validate_json("null")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"messages": HELLO["messages"], "options": None, "stream": False}),
        ("/api/generate", {"prompt": "Hi", "options": None, "stream": False}),
        ("/api/chat", {"messages": None}),
        (
            "/v1/chat/completions",
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": "a", "type": None, "function": {"name": "f", "arguments": None}}
                        ],
                    },
                    {"role": "tool", "tool_call_id": "a", "content": "x"},
                ]
            },
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 5,
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "f", "input": None}],
                    },
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
                ],
            },
        ),
        (
            "/v1/responses",
            {
                "input": [
                    {"type": "function_call", "call_id": "a", "name": "f", "arguments": None},
                    {"type": "function_call_output", "call_id": "a", "output": "x"},
                ]
            },
        ),
    ],
)
@pytest.mark.parametrize("model", [{"model": None}, {}, {"model": "smollm2-135m:latest"}])
def test_answered(
    shared_gateway: RunningGateway, path: str, fields: dict[str, Any], model: dict[str, Any]
) -> None:
    answer = shared_gateway.send(request("POST", path, json.dumps(fields | model).encode()))
    assert status_of(answer) == 200, answer
    if path.startswith("/v1"):
        assert MODEL_ID.encode() in answer


def test_required_null_is_missing(shared_gateway: RunningGateway) -> None:
    body = json.dumps(HELLO | {"messages": None}).encode()
    answer = shared_gateway.send(request("POST", "/v1/chat/completions", body))
    assert b"missing_required_parameter" in answer


@pytest.mark.parametrize("path", ["/v1/models/{}:latest", "/openai/load/{}:latest"])
def test_latest_in_addresses(shared_gateway: RunningGateway, path: str) -> None:
    answer = shared_gateway.send(request("GET", path.format("smollm2-135m")))
    assert status_of(answer) == 200


def test_messages_null_is_no_message() -> None:
    assert OllamaChat.model_validate_json('{"messages": null}').request is None
