"""POST /v1/chat/completions over a real port, against the scripted scheduler."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any

import openai
import pytest

from cupola.gateway.core import scheduler_client
from cupola.scheduler.protocol.messages import Abort, ErrorCode, Outputs, Rejected, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import SamplingParams
from tests.gateway.running_gateway import (
    HELLO,
    MODEL_ID,
    RunningGateway,
    error_of,
    read_all,
    read_until,
    status_of,
)
from tests.gateway.scripted_scheduler import ScriptedScheduler, last, work_of

pytestmark = pytest.mark.slow


def rejecting(code: ErrorCode, text: str = "no") -> Any:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Rejected(request.request_id, code, text)

    return script


# -- official client -------------------------------------------------------------------------------


def test_whole_answer(gateway: RunningGateway) -> None:
    before = int(time.time())
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO)
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", answer.id)
    assert (answer.object, answer.model) == ("chat.completion", MODEL_ID)
    assert before <= answer.created <= time.time()
    assert answer.system_fingerprint
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content) == ("assistant", "One two three.")
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert answer.usage.model_dump(include={"prompt_tokens", "completion_tokens"}) == {
        "prompt_tokens": 5,
        "completion_tokens": 3,
    }
    assert answer.usage.total_tokens == 8
    assert answer.usage.prompt_tokens_details.cached_tokens == 2


def test_streamed_answer(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        chunks = list(client.chat.completions.create(**HELLO, stream=True))
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:])
    texts = [chunk.choices[0].delta.content for chunk in chunks]
    assert texts == ["", "One", " two", " three.", None]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None, None, None, None, "stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_streamed_usage(gateway: RunningGateway) -> None:
    options: Any = {"include_usage": True}
    with gateway.openai() as client:
        *_, last_choice, usage = client.chat.completions.create(
            **HELLO, stream=True, stream_options=options
        )
    assert last_choice.choices[0].finish_reason == "stop" and last_choice.usage is None
    assert usage.choices == [] and usage.usage is not None
    assert usage.usage.total_tokens == 8


def test_length(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            output = Output(request.request_id, "Cut", FinishReason.LENGTH, Usage(1, 1))
            yield Outputs((output,))

    scheduler.script = script
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO, max_tokens=1)
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("length", "Cut")


@pytest.mark.parametrize("name", ["smollm2-135m", "SmolLM2-135M-Instruct-Generic-CPU", MODEL_ID])
def test_alias_name_and_id(gateway: RunningGateway, name: str) -> None:
    with gateway.openai() as client:
        answer = client.chat.completions.create(model=name, messages=HELLO["messages"])
    assert answer.model == MODEL_ID


# -- what the scheduler is asked -------------------------------------------------------------------


def test_request_reaches_the_scheduler(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
    ]
    body = {
        "model": HELLO["model"],
        "messages": messages,
        "max_tokens": 7,
        "temperature": 0,
        "top_p": 0.5,
        "stop": "END",
        "ignore_eos": True,
        "metadata": {"top_k": "40", "random_seed": "-3"},
        "ttl": 30,
    }
    with gateway.http() as http:
        assert http.post("/v1/chat/completions", json=body).status_code == 200
    submit = scheduler.next(Submit)
    assert (submit.model.id, submit.ttl) == (MODEL_ID, 30.0)
    work = work_of(submit)
    assert work.prompt.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    )
    assert work.sampling == SamplingParams(
        max_tokens=7, temperature=0.0, top_p=0.5, top_k=40, seed=-3, stop=("END",), ignore_eos=True
    )


def test_defaults(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    gateway.ask(HELLO)
    submit = scheduler.next(Submit)
    assert submit.ttl is None  # the worker knows the default
    assert work_of(submit).sampling == SamplingParams()


def test_number_too_large_for_the_wire(gateway: RunningGateway) -> None:
    answer = gateway.ask(HELLO | {"chat_template_kwargs": {"x": 10**30}})
    assert (status_of(answer), error_of(answer)["param"]) == (400, "chat_template_kwargs")


# -- the bytes of a stream -------------------------------------------------------------------------


def test_exact_stream(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = None
    with gateway.post(HELLO | {"stream": True}) as connection:
        request_id = scheduler.next(Submit).request_id
        scheduler.send(Outputs((Output(request_id, "Hi"),)))
        received = read_until(connection, b'"Hi"')
        scheduler.send(Outputs((Output(request_id),)))  # held back: nothing to send
        scheduler.send(last(request_id, "!"))
        received += read_all(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/event-stream; charset=utf-8" in head
    events = dechunked(body).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert [chunk["choices"] for chunk in chunks] == [
        [choice({"role": "assistant", "content": ""})],
        [choice({"content": "Hi"})],
        [choice({"content": "!"})],
        [choice({}, "stop")],
    ]


def choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def dechunked(body: bytes) -> bytes:
    """The content of a body in HTTP's chunked encoding, which must be complete."""
    content = b""
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        content += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        body = rest[length + 2 :]
        if length == 0:
            return content


def test_keep_alive_comments(
    gateway: RunningGateway, scheduler: ScriptedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_client, "IDLE", 0.01)
    scheduler.script = None
    with gateway.post(HELLO | {"stream": True}) as connection:
        request_id = scheduler.next(Submit).request_id
        read_until(connection, b": keep-alive\n\n")
        scheduler.send(last(request_id, "late"))
        assert b"data: [DONE]" in read_all(connection)


def test_long_wait_for_a_whole_answer(
    gateway: RunningGateway, scheduler: ScriptedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_client, "IDLE", 0.0)
    scheduler.script = None
    with gateway.post(HELLO) as connection:
        request_id = scheduler.next(Submit).request_id
        scheduler.send(Outputs((Output(request_id, "a"),)), last(request_id, "b"))
        assert b'"content":"ab"' in read_all(connection)


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", ErrorCode)
def test_rejection_is_a_status(
    gateway: RunningGateway, scheduler: ScriptedScheduler, code: ErrorCode, stream: bool
) -> None:
    scheduler.script = rejecting(code, "the reason")
    with gateway.openai() as client, pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(**HELLO, stream=stream)
    assert raised.value.status_code >= 400
    assert raised.value.body["message"] == "The reason"  # type: ignore[index]
    assert raised.value.request_id


def test_overload_says_when_to_come_back(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = rejecting(ErrorCode.QUEUE_FULL)
    answer = gateway.ask(HELLO)
    assert status_of(answer) == 503
    assert b"retry-after: 1\r\n" in answer
    assert error_of(answer)["code"] == "server_overloaded"


def test_failure_in_the_middle_of_a_stream(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = None
    with gateway.post(HELLO | {"stream": True}) as connection:
        request_id = scheduler.next(Submit).request_id
        scheduler.send(
            Outputs((Output(request_id, "Half"),)),
            Rejected(request_id, ErrorCode.WORKER_LOST, "the worker died"),
        )
        body = dechunked(read_all(connection).partition(b"\r\n\r\n")[2])
    *chunks, end, nothing = body.split(b"\n\n")
    assert nothing == b"" and b"[DONE]" not in body
    assert b'"Half"' in chunks[-1]
    assert json.loads(end.removeprefix(b"data: "))["error"] == {
        "message": "The worker died",
        "type": "server_error",
        "param": None,
        "code": "worker_lost",
    }


def test_official_client_raises_in_the_middle(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Outputs((Output(request.request_id, "Half"),))
            yield Rejected(request.request_id, ErrorCode.WORKER_LOST, "the worker died")

    scheduler.script = script
    with gateway.openai() as client, pytest.raises(openai.APIError, match="worker died"):
        for _ in client.chat.completions.create(**HELLO, stream=True):
            pass


def test_failure_in_the_middle_of_a_whole_answer(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = None
    with gateway.post(HELLO) as connection:
        request_id = scheduler.next(Submit).request_id
        scheduler.send(
            Outputs((Output(request_id, "Half"),)),
            Rejected(request_id, ErrorCode.WORKER_LOST, "the worker died"),
        )
        answer = read_all(connection)
    assert (status_of(answer), error_of(answer)["code"]) == (503, "worker_lost")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"", 400, None),
        (b"[]", 400, None),
        (json.dumps(HELLO | {"model": "smolm2"}).encode(), 404, "model"),
        (json.dumps(HELLO | {"temperature": -1}).encode(), 400, "temperature"),
        (json.dumps(HELLO | {"messages": []}).encode(), 400, "messages"),
    ],
)
def test_bad_request(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    body: bytes,
    status: int,
    param: str | None,
) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    assert scheduler.seen.empty()


@pytest.mark.parametrize("frame", [b"", b"\xc1 no message", b"\x91" * 2_000 + b"\x90"])
def test_malformed_frame_is_dropped(
    gateway: RunningGateway, scheduler: ScriptedScheduler, frame: bytes
) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield frame
            yield last(request.request_id, "fine")

    scheduler.script = script
    with gateway.openai() as client:
        answer = client.chat.completions.create(**HELLO)
    assert answer.choices[0].message.content == "fine"


# -- clients that go away --------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_disconnect_aborts(
    gateway: RunningGateway, scheduler: ScriptedScheduler, stream: bool, begun: bool
) -> None:
    scheduler.script = None
    connection = gateway.post(HELLO | {"stream": stream})
    request_id = scheduler.next(Submit).request_id
    if begun:
        scheduler.send(Outputs((Output(request_id, "a"),)))
        if stream:
            read_until(connection, b'"a"')
    connection.close()
    assert scheduler.next(Abort) == Abort(request_id)


def test_official_client_that_stops_reading_aborts(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = lambda request: (
        [Outputs((Output(request.request_id, "a"),))] if isinstance(request, Submit) else []
    )
    with gateway.openai() as client, client.chat.completions.create(**HELLO, stream=True) as stream:
        next(stream)
    submit = scheduler.next(Submit)
    assert scheduler.next(Abort) == Abort(submit.request_id)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refused", [False, True])
def test_finished_request_is_not_aborted(
    gateway: RunningGateway, scheduler: ScriptedScheduler, stream: bool, refused: bool
) -> None:
    if refused:
        scheduler.script = rejecting(ErrorCode.QUEUE_FULL)
    ids = []
    for _ in range(3):
        answer = gateway.ask(HELLO | {"stream": stream})
        assert status_of(answer) == (503 if refused else 200)
        # An Abort of the request before would have come before this Submit.
        ids.append(scheduler.next(Submit).request_id)
    assert len(set(ids)) == 3


def test_connection_is_kept_for_the_next_request(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        for stream in (True, False, True):
            body = HELLO | {"stream": stream}
            assert http.post("/v1/chat/completions", json=body).status_code == 200
