"""POST /v1/embeddings, with workers' answers from a script."""

from __future__ import annotations

import struct
from typing import Any

import openai
import pytest

from cupola.scheduler.protocol.messages import ErrorCode, Outputs, Rejected, Submit, decode_work
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import Embed, Text, Tokens
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow


@pytest.fixture
def tasks(scheduler: ScriptedScheduler) -> list[Any]:
    """What workers were asked for. They answer backwards, as they may."""
    seen: list[Any] = []

    def script(submit: Submit) -> Any:
        task = decode_work(submit.work)
        seen.append(task)
        for index in reversed(range(len(task.texts))):
            usage = None if index else Usage(7, 0)
            data = struct.pack("<2f", index, 0.1)
            yield Outputs((Output(submit.request_id, index=index, embedding=data, usage=usage),))

    scheduler.script = script
    return seen


def post(gateway: RunningGateway, **body: Any) -> Any:
    with gateway.http() as http:
        return http.post("/v1/embeddings", json={"model": MODEL} | body)


def test_numbers(gateway: RunningGateway, tasks: list[Any]) -> None:
    answer = post(gateway, input="hello")
    assert answer.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0, 0.100000001]}],
        "model": "smollm2-135m-instruct-generic-cpu:1",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert tasks == [Embed((Text("hello"),))]


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", (Text("a"),)),
        (["a", "b"], (Text("a"), Text("b"))),
        ([5, 6], (Tokens((5, 6)),)),
        ([[5], [6, 7]], (Tokens((5,)), Tokens((6, 7)))),
    ],
)
def test_every_form_of_input(
    gateway: RunningGateway, tasks: list[Any], given: Any, texts: Any
) -> None:
    answer = post(gateway, input=given, truncate=True)
    assert [entry["index"] for entry in answer.json()["data"]] == list(range(len(texts)))
    assert tasks == [Embed(texts, truncate=True)]


@pytest.mark.parametrize("form", ["float", "base64", openai.omit])
def test_the_official_client_reads_both_forms(
    gateway: RunningGateway, tasks: list[Any], form: Any
) -> None:
    with gateway.openai() as client:
        made = client.embeddings.create(
            model=MODEL, input=["a", "b"], encoding_format=form, dimensions=2
        )
    if form == "base64":
        vectors: list[Any] = [entry.embedding for entry in made.data]
        assert vectors == ["AAAAAM3MzD0=", "AACAP83MzD0="]
    else:
        assert made.data[1].embedding == pytest.approx([1, 0.1])
    assert made.usage.prompt_tokens == 7
    assert tasks[0].dimensions == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimension": 5}, "dimension"),
        ({"input": "a", "ttl": 5, "keep_alive": "5m"}, "keep_alive"),
        ({"input": "a", "model": "unknown"}, "model"),
    ],
)
def test_what_is_wrong_is_named(gateway: RunningGateway, body: Any, param: str) -> None:
    answer = post(gateway, **body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"].partition("[")[0].partition(".")[0] == param


def test_a_text_that_is_too_long_is_named_as_the_input(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = lambda submit: [
        Rejected(submit.request_id, ErrorCode.CONTEXT_LENGTH_EXCEEDED, "too long", "texts")
    ]
    answer = post(gateway, input="a")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "input"


def test_an_answer_without_vectors_is_an_error(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = lambda submit: [
        Outputs((Output(submit.request_id, "text", FinishReason.STOP, Usage(1, 1)),))
    ]
    assert post(gateway, input="a").status_code == 400
