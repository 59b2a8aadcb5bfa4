"""Calls that the limit on tokens or a stop string cuts, in every API, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

CALL = '[{"name": "f", "arguments": {"city": "Paris"}}]'
NAMED = CALL.index('"arguments"')  # from here on the name is known
COMPLETE = CALL.index("}}]") + 1  # and here the arguments are complete
MESSAGES = [{"role": "user", "content": "Hello!"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


@dataclass
class Answer:
    text: str
    calls: list[tuple[str, Any]]  # names and arguments, as text or as an object
    reason: str | None


def lines_of(text: str) -> list[Any]:
    found = [x.removeprefix("data: ") for x in text.splitlines() if x.startswith(("data:", "{"))]
    return [json.loads(line) for line in found if line != "[DONE]"]


def chat(text: str, stream: bool) -> Answer:
    if not stream:
        choice = json.loads(text)["choices"][0]
        message = choice["message"]
        calls = [call["function"] for call in message.get("tool_calls", ())]
        pairs = [(call["name"], call["arguments"]) for call in calls]
        return Answer(message["content"] or "", pairs, choice["finish_reason"])
    choices = [choice for line in lines_of(text) for choice in line["choices"]]
    content = "".join(choice["delta"].get("content") or "" for choice in choices)
    deltas = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    name = "".join(delta["function"].get("name", "") for delta in deltas)
    arguments = "".join(delta["function"].get("arguments", "") for delta in deltas)
    return Answer(content, [(name, arguments)] if name else [], choices[-1]["finish_reason"])


def messages(text: str, stream: bool) -> Answer:
    if not stream:
        whole = json.loads(text)
        words = "".join(block.get("text", "") for block in whole["content"])
        blocks = [block for block in whole["content"] if block["type"] == "tool_use"]
        pairs = [(block["name"], block["input"]) for block in blocks]
        return Answer(words, pairs, whole["stop_reason"])
    events = lines_of(text)
    pieces = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    words = "".join(piece.get("text", "") for piece in pieces)
    arguments = "".join(piece.get("partial_json", "") for piece in pieces)
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    names = [block["name"] for block in blocks if block["type"] == "tool_use"]
    [reason] = [e["delta"]["stop_reason"] for e in events if e["type"] == "message_delta"]
    return Answer(words, [(name, arguments) for name in names], reason)


def responses(text: str, stream: bool) -> Answer:
    response = lines_of(text)[-1]["response"] if stream else json.loads(text)
    parts = [item for item in response["output"] if item["type"] == "message"]
    words = "".join(part["text"] for item in parts for part in item["content"])
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    whole = [(i["name"], i["arguments"]) for i in calls if i["status"] == "completed"]
    return Answer(words, whole, response["status"])


def ollama(text: str, stream: bool) -> Answer:
    lines = lines_of(text)
    words = "".join(line["message"]["content"] for line in lines)
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    pairs = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    return Answer(words, pairs, lines[-1]["done_reason"])


@dataclass
class Api:
    path: str
    body: dict[str, Any]
    forced: dict[str, Any]  # fields that require a call
    stops: dict[str, Any]
    read: Callable[[str, bool], Answer]
    length: str  # its words for why an answer ended
    stop: str


APIS = {
    "chat": Api(
        "/v1/chat/completions",
        {"messages": MESSAGES, "tools": [FUNCTION]},
        {"tool_choice": "required"},
        {"stop": ["city"]},
        chat,
        "length",
        "stop",
    ),
    "messages": Api(
        "/v1/messages",
        {
            "messages": MESSAGES,
            "max_tokens": 3,
            "tools": [{"name": "f", "input_schema": SCHEMA}],
        },
        {"tool_choice": {"type": "any"}},
        {"stop_sequences": ["city"]},
        messages,
        "max_tokens",
        "stop_sequence",
    ),
    "responses": Api(
        "/v1/responses",
        {"input": "Hello!", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
        {"tool_choice": "required"},
        {"stop": ["city"]},
        responses,
        "incomplete",
        "completed",
    ),
    "ollama": Api(
        "/api/chat",
        {"messages": MESSAGES, "tools": [FUNCTION]},
        {"tool_choice": "required"},
        {"options": {"stop": ["city"]}},
        ollama,
        "length",
        "stop",
    ),
}
every_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS)
streamed = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture
def ask(
    shared_gateway: RunningGateway, shared_scheduler: ScriptedScheduler
) -> Iterable[Callable[..., Answer]]:
    """Asks an API. ``says``: the text of the answer, which comes in pieces."""

    def asked(
        api: Api, says: str, reason: FinishReason, by: str | None = None, **more: Any
    ) -> Answer:
        def script(request: Any) -> Iterable[Any]:
            if isinstance(request, Submit):
                for at in range(0, len(says), 4):
                    yield Outputs((Output(request.request_id, says[at : at + 4], made=1),))
                last = Output(request.request_id, "", reason, Usage(5, 3), stopped_by=by)
                yield Outputs((last,))

        shared_scheduler.script = script
        with shared_gateway.http() as http:
            answer = http.post(api.path, json={"model": MODEL, **api.body, **more})
        assert answer.status_code == 200, answer.text
        return api.read(answer.text, bool(more["stream"]))

    yield asked
    while not shared_scheduler.seen.empty():
        shared_scheduler.seen.get()


@every_api
@streamed
def test_a_required_call_that_the_limit_cuts(
    ask: Callable[..., Answer], api: Api, stream: bool
) -> None:
    for end in range(len(CALL)):
        answer = ask(api, CALL[:end], FinishReason.LENGTH, stream=stream, **api.forced)
        assert (answer.text, answer.reason) == ("", api.length), CALL[:end]
        if end < NAMED - 2:
            assert answer.calls == []
        if end >= COMPLETE:
            [(name, arguments)] = answer.calls or [("f", '{"city": "Paris"}')]
            assert name == "f"
            assert arguments in ('{"city": "Paris"}', {"city": "Paris"})
        elif api.read in (ollama, responses):  # the others say with the reason that it was cut
            assert answer.calls == []


@every_api
@streamed
def test_a_call_that_a_stop_string_cuts_is_no_call(
    ask: Callable[..., Answer], api: Api, stream: bool
) -> None:
    says = '<tool_call>{"name": "f", "arguments": {"'
    answer = ask(api, says, FinishReason.STOP, by="city", stream=stream, **api.stops)
    assert answer.reason == api.stop
    if not stream or api.read in (ollama, responses):
        assert answer.calls == []


@every_api
def test_stop_strings_do_not_act_in_a_required_call(
    ask: Callable[..., Answer], shared_scheduler: ScriptedScheduler, api: Api
) -> None:
    ask(api, CALL, FinishReason.STOP, stream=False, **api.forced, **api.stops)
    sampling = work_of(shared_scheduler.next(Submit)).sampling
    assert sampling.stop == () and sampling.stop_token_ids == ()
    ask(api, "Hi", FinishReason.STOP, stream=False, **api.stops)
    assert work_of(shared_scheduler.next(Submit)).sampling.stop == ("city",)


@every_api
@streamed
def test_a_whole_call(ask: Callable[..., Answer], api: Api, stream: bool) -> None:
    answer = ask(api, CALL, FinishReason.STOP, stream=stream, **api.forced)
    assert answer.text == ""
    [(name, arguments)] = answer.calls
    assert (name, arguments) in (("f", '{"city": "Paris"}'), ("f", {"city": "Paris"}))
