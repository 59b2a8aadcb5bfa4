"""What POST /v1/responses refuses, and how a response fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import openai
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from openai.types.shared_params import Reasoning

from cupola.gateway.openai.responses.body.response import ReasoningOptions, ResponsesRequest
from cupola.scheduler.protocol.messages import Abort, ErrorCode, Outputs, Rejected, Submit
from cupola.scheduler.protocol.outputs import Output
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, last

INVALID = "invalid_value"
ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!"}


def test_every_parameter_of_openai_is_known() -> None:
    offered = ResponseCreateParamsStreaming.__annotations__
    assert len(offered) > 30
    assert set(offered) <= set(ResponsesRequest.model_fields)
    assert set(Reasoning.__annotations__) <= set(ReasoningOptions.model_fields)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"truncation": "auto"}, "truncation"),
    ({"max_tool_calls": 1}, "max_tool_calls"),
    ({"n": 2}, "n"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"reasoning": {"context": "current_turn"}}, "reasoning.context"),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content",
    ),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=[param for _, param in REFUSED])
def test_refused_by_name(gateway: RunningGateway, fields: dict[str, Any], param: str) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/responses", json=ASK | fields)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"imput": "x"}, "imput", "unknown_parameter"),
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": [{"id": "x"}]}, "input[0].type", "invalid_value"),
    ({"reasoning": {"efort": "low"}}, "reasoning.efort", "unknown_parameter"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "invalid_value"),
    ({"tools": [{"type": 5}]}, "tools[0].type", "invalid_value"),
    ({"tools": [{"name": "f"}]}, "tools[0].type", "missing_required_parameter"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice", INVALID),
    ({"input": [{"type": 5}]}, "input[0].type", "invalid_value"),
    ({"input": [{"type": "web_search_call"}]}, "input", "invalid_value"),
    ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, "input", "invalid_value"),
    ({"background": True, "store": False}, "background", "invalid_value"),
    ({"tool_choice": {"type": "function", "name": "fly"}}, "tool_choice", "invalid_value"),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        "input",
        "invalid_value",
    ),
]


@pytest.mark.parametrize(("fields", "param", "code"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_wrong(gateway: RunningGateway, fields: dict[str, Any], param: str, code: str) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/responses", json=ASK | fields)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["param"], error["code"]) == (param, code), error["message"]


def test_failure_before_and_after_the_first_word(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    def too_long(request: Any) -> Iterable[Any]:
        yield Rejected(request.request_id, ErrorCode.CONTEXT_LENGTH_EXCEEDED, "too long")

    def lost(request: Any) -> Iterable[Any]:
        yield Outputs((Output(request.request_id, "One"),))
        yield Rejected(request.request_id, ErrorCode.WORKER_LOST, "the worker is gone")

    with gateway.openai() as client:
        scheduler.script = too_long
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**ASK)
        assert refused.value.param == "input"
        scheduler.script = lost
        events = list(client.responses.create(**ASK, stream=True))
        assert [event.type for event in events][-3:] == [
            "response.content_part.done",
            "response.output_item.done",
            "response.failed",
        ]
        end = events[-1]
        assert end.type == "response.failed" and end.response.error is not None
        assert end.response.error.code == "server_error"
        kept = client.responses.retrieve(end.response.id)
        assert (kept.status, kept.output_text) == ("failed", "One")


def test_a_client_that_leaves_ends_the_work(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = None
    with gateway.post(ASK | {"stream": True}, "/v1/responses"):
        submit = scheduler.next(Submit)
    assert scheduler.next(Abort).request_id == submit.request_id
    scheduler.send(last(submit.request_id))
