"""The tokenizer over HTTP, with workers' answers from a script."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.scheduler.protocol.messages import ErrorCode, Outputs, Rejected, Submit, decode_work
from cupola.scheduler.protocol.outputs import Output, Usage
from cupola.scheduler.protocol.tasks import Chat, Decode, Encode, Text
from tests.gateway.running_gateway import HELLO, MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

ENCODED = {"text": "<hé>", "tokens": (7, 8, 9), "pieces": (b"<h", b"\xc3", b"\xa9>")}


def tasks(scheduler: ScriptedScheduler, **fields: Any) -> list[Any]:
    """What workers are asked for from now on; the answers are Outputs with ``fields``."""
    seen: list[Any] = []

    def script(submit: Submit) -> Any:
        seen.append(decode_work(submit.work))
        yield Outputs((Output(submit.request_id, usage=Usage(3, 0), **fields),))

    scheduler.script = script
    return seen


def post(gateway: RunningGateway, path: str, body: Any) -> Any:
    with gateway.http() as http:
        return http.post(path, json=body)


def test_llama_server_tokenize(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = tasks(scheduler, **ENCODED)
    answer = post(gateway, "/tokenize", {"content": "hé"})
    assert answer.json() == {"tokens": [7, 8, 9]}
    assert seen == [Encode(Text("hé"), add_special=False)]
    answer = post(gateway, "/tokenize", {"content": "hé", "add_special": True, "with_pieces": True})
    assert answer.json()["tokens"] == [
        {"id": 7, "piece": "<h"},
        {"id": 8, "piece": [0xC3]},
        {"id": 9, "piece": [0xA9, 0x3E]},
    ]
    assert seen[1:] == [Encode(Text("hé"))]


def test_vllm_tokenize(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = tasks(scheduler, **ENCODED)
    answer = post(gateway, "/tokenize", {"model": MODEL, "prompt": "hé"})
    expected = {"count": 3, "max_model_len": 8192, "tokens": [7, 8, 9], "token_strs": None}
    assert answer.json() == expected
    assert seen == [Encode(Text("hé"))]


def test_vllm_tokenize_of_a_conversation(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    seen = tasks(scheduler, **ENCODED)
    body = HELLO | {"add_generation_prompt": False, "return_token_strs": True}
    answer = post(gateway, "/tokenize", body)
    assert answer.json()["count"] == 3
    assert answer.json()["token_strs"][0] == "<h"
    (task,) = seen
    assert isinstance(task.prompt, Chat)
    assert task.prompt.template_options == {"add_generation_prompt": False}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions/input_tokens", HELLO),
        ("/chat/completions/input_tokens", HELLO),
        ("/v1/responses/input_tokens", {"model": MODEL, "input": "Hello!"}),
    ],
)
def test_input_tokens(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str, body: Any
) -> None:
    seen = tasks(scheduler, **ENCODED)
    answer = post(gateway, path, body)
    assert answer.json() == {"object": "response.input_tokens", "input_tokens": 3}
    assert seen == [Encode(Chat(({"role": "user", "content": "Hello!"},)))]


def test_input_tokens_with_the_official_client(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    tasks(scheduler, **ENCODED)
    tools: Any = [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}]
    with gateway.openai() as client:
        counted = client.responses.input_tokens.count(
            model=MODEL, input="Hello!", instructions="Be brief.", tools=tools
        )
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", 3)


@pytest.mark.parametrize("path", ["/tokenize", "/apply-template"])
@pytest.mark.parametrize("wanted", [None, False, True])
def test_special_tokens_in_messages_are_parsed_where_that_is_wanted(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str, wanted: bool | None
) -> None:
    seen = tasks(scheduler, **ENCODED)
    assert post(gateway, path, HELLO | {"parse_special": wanted}).status_code == 200
    (task,) = seen
    assert isinstance(task.prompt, Chat)
    assert task.prompt.parse_special is bool(wanted)


@pytest.mark.parametrize("name", [{}, {"model": MODEL}])
def test_detokenize(gateway: RunningGateway, scheduler: ScriptedScheduler, name: Any) -> None:
    seen = tasks(scheduler, text="hé")
    answer = post(gateway, "/detokenize", {"tokens": [7, 8]} | name)
    assert answer.json() == {"content": "hé", "prompt": "hé"}
    assert seen == [Decode((7, 8))]


def test_apply_template(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    seen = tasks(scheduler, **ENCODED)
    answer = post(gateway, "/apply-template", {"messages": HELLO["messages"]})
    assert answer.json() == {"prompt": "<hé>"}
    assert seen == [Encode(Chat(({"role": "user", "content": "Hello!"},)))]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": "a", "prompt": "b"}, "content"),
        ("/tokenize", {"content": 7}, "content"),
        ("/tokenize", {"content": "a", "add_speciall": True}, "add_speciall"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"model": "unknown", "content": "a"}, "model"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [2**40]}, "tokens[0]"),
        ("/detokenize", {}, "tokens"),
        ("/apply-template", {}, "messages"),
    ],
)
def test_what_is_wrong_is_named(gateway: RunningGateway, path: str, body: Any, param: str) -> None:
    answer = post(gateway, path, body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == param


def test_a_worker_s_refusal_is_passed_on(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = lambda submit: [
        Rejected(submit.request_id, ErrorCode.INVALID_REQUEST, "the model has no token 9")
    ]
    answer = post(gateway, "/detokenize", {"tokens": [9]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The model has no token 9"
