"""POST /v1/completions over a real port, against the scripted scheduler."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from cupola.scheduler.protocol.messages import (
    Abort,
    ErrorCode,
    Outputs,
    Rejected,
    Submit,
    decode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, TokenLogprob, Usage
from cupola.scheduler.protocol.tasks import SamplingParams, Text, Tokens, Work
from tests.gateway.running_gateway import MODEL, MODEL_ID, RunningGateway, error_of, status_of
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

PROMPT: dict[str, Any] = {"model": MODEL, "prompt": "Once"}
LOGPROBS = {" upon": -0.5, " a": -1.0}


def work_of(submit: Submit) -> Work:
    work = decode_work(submit.work)
    assert isinstance(work, Work)
    return work


def story(request: Any) -> Iterable[Any]:
    """Two tokens for each answer, the later answers less probable; logprobs where wanted."""
    if not isinstance(request, Submit):
        return
    work = work_of(request)
    usage = Usage(prompt_tokens=1, completion_tokens=2 * work.answers)
    for index in range(work.answers):
        prompt: tuple[TokenLogprob, ...] = ()
        if work.prompt_logprobs and index == 0:
            prompt = (TokenLogprob(b"On", nan), TokenLogprob(b"ce", -3.0, ((b"ly", -0.1),)))
        for text, logprob in LOGPROBS.items():
            end = text == " a"
            token = TokenLogprob(text.encode(), logprob - index, ((text.encode(), logprob),))
            output = Output(
                request.request_id,
                text,
                FinishReason.LENGTH if end else None,
                usage if end and index == work.answers - 1 else None,
                index,
                (token,) if work.sampling.logprobs is not None else (),
                () if end else prompt,
            )
            yield Outputs((output,))


@pytest.fixture(autouse=True)
def _story(scheduler: ScriptedScheduler) -> None:
    scheduler.script = story


def test_whole(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        answer = client.completions.create(**PROMPT, max_tokens=2)
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", MODEL_ID)
    [choice] = answer.choices
    assert (choice.text, choice.index, choice.finish_reason) == (" upon a", 0, "length")
    assert choice.logprobs is None
    assert answer.usage is not None and answer.usage.total_tokens == 3


def test_streamed(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        *chunks, usage = client.completions.create(
            **PROMPT, stream=True, stream_options={"include_usage": True}
        )
    assert [chunk.choices[0].text for chunk in chunks] == [" upon", " a", ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "length"]
    assert usage.choices == [] and usage.usage is not None
    assert usage.usage.completion_tokens == 2
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("Once", [Text("Once")]),
        (["Once", "Twice"], [Text("Once"), Text("Twice")]),
        ([5, 6], [Tokens((5, 6))]),
        ([[5, 6], [7]], [Tokens((5, 6)), Tokens((7,))]),
    ],
)
def test_prompts(
    gateway: RunningGateway, scheduler: ScriptedScheduler, prompt: Any, sent: list[Any]
) -> None:
    with gateway.openai() as client:
        answer = client.completions.create(model=MODEL, prompt=prompt, n=2)
    prompts = [work_of(scheduler.next(Submit)).prompt for _ in sent]
    assert sorted(map(str, prompts)) == sorted(map(str, sent))
    assert [choice.index for choice in answer.choices] == list(range(2 * len(sent)))
    assert {choice.text for choice in answer.choices} == {" upon a"}
    assert answer.usage is not None and answer.usage.completion_tokens == 4 * len(sent)


def test_many_prompts_streamed(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        chunks = list(client.completions.create(model=MODEL, prompt=["a", "b"], n=2, stream=True))
    texts: dict[int, str] = dict.fromkeys(range(4), "")
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert set(texts.values()) == {" upon a"}


def test_parameters_reach_the_worker(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        client.completions.create(**PROMPT, seed=3, stop=["."], temperature=0)
    work = work_of(scheduler.next(Submit))
    assert work.sampling == SamplingParams(max_tokens=16, seed=3, stop=(".",), temperature=0.0)


def test_logprobs(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        [choice] = client.completions.create(**PROMPT, logprobs=1).choices
        chunks = list(client.completions.create(**PROMPT, logprobs=1, stream=True))
    assert choice.logprobs is not None
    assert choice.logprobs.model_dump() == {
        "tokens": [" upon", " a"],
        "token_logprobs": [-0.5, -1.0],
        "top_logprobs": [{" upon": -0.5}, {" a": -1.0}],
        "text_offset": [0, 5],
    }
    logprobs = [chunk.choices[0].logprobs for chunk in chunks[:2]]
    assert [one.text_offset for one in logprobs if one is not None] == [[0], [5]]


def test_echo(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        [choice] = client.completions.create(**PROMPT, echo=True).choices
        chunks = list(client.completions.create(**PROMPT, echo=True, stream=True))
    assert choice.text == "Once upon a"
    assert [chunk.choices[0].text for chunk in chunks] == ["Once", " upon", " a", ""]


@pytest.mark.parametrize("prompt", ["Once", [5, 6]])
def test_echo_with_logprobs(gateway: RunningGateway, prompt: Any) -> None:
    with gateway.openai() as client:
        body: dict[str, Any] = {"model": MODEL, "prompt": prompt, "echo": True, "logprobs": 1}
        [choice] = client.completions.create(**body).choices
        chunks = list(client.completions.create(**body, stream=True))
    assert choice.text == "Once upon a" and choice.logprobs is not None
    assert choice.logprobs.tokens == ["On", "ce", " upon", " a"]
    assert choice.logprobs.token_logprobs == [None, -3.0, -0.5, -1.0]
    assert choice.logprobs.top_logprobs is not None
    assert choice.logprobs.top_logprobs[:2] == [None, {"ly": -0.1}]
    assert choice.logprobs.text_offset == [0, 2, 4, 9]
    offsets = [chunk.choices[0].logprobs for chunk in chunks]
    assert [one.text_offset for one in offsets if one] == [[0, 2], [4], [9]]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Once upon a"


def faster_than_its_echo(request: Any) -> Iterable[Any]:
    """The second answer, whose prompt is known, comes before the first one."""
    outputs = [output for message in story(request) for output in message.outputs]
    later, first = outputs[2:], outputs[:2]
    usage = later[-1].usage
    later[-1], first[-1] = replace(later[-1], usage=None), replace(first[-1], usage=usage)
    yield from (Outputs((output,)) for output in (*later, *first))


@pytest.mark.parametrize("prompt", ["Once", [5, 6]])
def test_the_echo_of_each_answer_comes_first(
    gateway: RunningGateway, scheduler: ScriptedScheduler, prompt: Any
) -> None:
    scheduler.script = faster_than_its_echo
    body: dict[str, Any] = {"model": MODEL, "prompt": prompt, "echo": True, "logprobs": 1, "n": 2}
    with gateway.openai() as client:
        choices = [chunk.choices[0] for chunk in client.completions.create(**body, stream=True)]
    for index in range(2):
        of_answer = [choice for choice in choices if choice.index == index]
        assert [choice.text for choice in of_answer] == ["Once", " upon", " a", ""]
        assert [choice.finish_reason for choice in of_answer] == [None, None, None, "length"]
        offsets = [choice.logprobs.text_offset for choice in of_answer if choice.logprobs]
        assert offsets == [[0, 2], [4], [9]]


def test_echo_of_tokens(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        [choice] = client.completions.create(model=MODEL, prompt=[5, 6], echo=True).choices
    assert (choice.text, choice.logprobs) == ("Once upon a", None)


def test_only_the_prompt_is_scored(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        answer = client.completions.create(**PROMPT, echo=True, logprobs=0, max_tokens=0)
    assert work_of(scheduler.next(Submit)).sampling.max_tokens == 1
    [choice] = answer.choices
    assert choice.text == "Once" and choice.logprobs is not None
    assert choice.logprobs.tokens == ["On", "ce"]
    assert answer.usage is not None and answer.usage.completion_tokens == 0


def test_best_of(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    with gateway.openai() as client:
        answer = client.completions.create(**PROMPT, best_of=3, n=2)
    work = work_of(scheduler.next(Submit))
    assert (work.answers, work.sampling.logprobs) == (3, 0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.logprobs is None for choice in answer.choices)
    assert answer.usage is not None and answer.usage.completion_tokens == 6


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [1, "a"]}, "prompt[0]", "invalid_type"),
        ({"prompt": [[-1]]}, "prompt[0][0]", "invalid_value"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"suffix": "the end"}, "suffix", "unsupported_parameter"),
        ({"best_of": 1, "n": 2}, "best_of", "invalid_value"),
        ({"best_of": 2, "stream": True}, "best_of", "invalid_value"),
        ({"logprobs": 6}, "logprobs", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"stopp": "x"}, "stopp", "unknown_parameter"),
    ],
)
def test_refusals(gateway: RunningGateway, fields: dict[str, Any], param: str, code: str) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/completions", json=PROMPT | fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


def test_too_long_a_prompt(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = lambda request: (
        [Rejected(request.request_id, ErrorCode.CONTEXT_LENGTH_EXCEEDED, "too long")]
        if isinstance(request, Submit)
        else []
    )
    with gateway.openai() as client, pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(**PROMPT)
    assert (raised.value.param, raised.value.code) == ("prompt", "context_length_exceeded")


@pytest.mark.parametrize("stream", [False, True])
def test_one_failed_prompt_fails_all(
    gateway: RunningGateway, scheduler: ScriptedScheduler, stream: bool
) -> None:
    scheduler.script = None
    body = {"model": MODEL, "prompt": ["a", "b"], "stream": stream}
    with gateway.post(body, "/v1/completions") as connection:
        first, second = (scheduler.next(Submit) for _ in range(2))
        scheduler.send(Rejected(second.request_id, ErrorCode.QUEUE_FULL, "full"))
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert (status_of(answer), error_of(answer)["code"]) == (503, "server_overloaded")
    assert scheduler.next(Abort) == Abort(first.request_id)


def test_disconnect_aborts_every_prompt(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.script = None
    connection = gateway.post({"model": MODEL, "prompt": ["a", "b"]}, "/v1/completions")
    ids = {scheduler.next(Submit).request_id for _ in range(2)}
    connection.close()
    assert {scheduler.next(Abort).request_id for _ in range(2)} == ids
