"""llama-server's ``timings`` and ``prompt_progress``, from what a worker has measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.gateway.openai.timings import timings_of
from cupola.scheduler.protocol.messages import Outputs, Submit, decode_work
from cupola.scheduler.protocol.outputs import FinishReason, Output, PromptProgress, Timings, Usage
from tests.gateway.running_gateway import HELLO, MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

PROMPT: dict[str, Any] = {"model": MODEL, "prompt": "One"}
DOORS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", HELLO),
    ("/v1/completions", PROMPT),
]
each_door = pytest.mark.parametrize(("path", "body"), DOORS, ids=["chat", "text"])
USAGE = Usage(12, 3, 2, accepted_prediction_tokens=1, rejected_prediction_tokens=3)
MEASURED = Timings(USAGE, prompt_seconds=0.02, generation_seconds=0.06)
SHOWN = {
    "cache_n": 2,
    "prompt_n": 10,
    "prompt_ms": 20.0,
    "prompt_per_token_ms": 2.0,
    "prompt_per_second": 500.0,
    "predicted_n": 3,
    "predicted_ms": 60.0,
    "predicted_per_token_ms": 20.0,
    "predicted_per_second": 50.0,
    "draft_n": 4,
    "draft_n_accepted": 1,
}


def answer(request: Any) -> Iterable[Any]:
    """As a worker does it: with what the request asks for."""
    if not isinstance(request, Submit):
        return
    work, name = decode_work(request.work), request.request_id
    if work.progress:
        for read, seconds in ((7, 0.0104), (12, 0.02)):
            yield Outputs((Output(name, progress=PromptProgress(12, 2, read, seconds)),))
    first, second = Usage(12, 1, 2), Usage(12, 2, 2)
    yield Outputs(
        (
            Output(
                name,
                "One",
                prompt_usage=first,
                timings=Timings(first, 0.02, 0.0) if work.timings else None,
            ),
        )
    )
    timings = Timings(second, 0.02, 0.03) if work.timings else None
    yield Outputs((Output(name, " two", timings=timings),))
    yield Outputs((Output(name, " three.", FinishReason.STOP, USAGE, timings=MEASURED),))


@pytest.fixture(autouse=True)
def _measures(scheduler: ScriptedScheduler) -> None:
    scheduler.script = answer


def chunks(gateway: RunningGateway, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with gateway.http() as http:
        streamed = http.post(path, json=body | {"stream": True})
    assert streamed.status_code == 200
    *data, done = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    return [json.loads(line) for line in data]


@each_door
def test_whole(gateway: RunningGateway, path: str, body: dict[str, Any]) -> None:
    with gateway.http() as http:
        assert http.post(path, json=body).json()["timings"] == SHOWN


@each_door
@pytest.mark.parametrize("usage", [False, True])
def test_the_last_chunk(
    gateway: RunningGateway, path: str, body: dict[str, Any], usage: bool
) -> None:
    options = {"stream_options": {"include_usage": usage}}
    *before, last = chunks(gateway, path, body | options)
    assert last["timings"] == SHOWN
    assert bool(last["choices"]) == (not usage)
    assert not any("timings" in chunk for chunk in before)


@each_door
def test_every_chunk(gateway: RunningGateway, path: str, body: dict[str, Any]) -> None:
    """Each text has the timings of its own time, however many come together."""
    made = chunks(gateway, path, body | {"timings_per_token": True})
    numbers = [chunk["timings"]["predicted_n"] for chunk in made if "timings" in chunk]
    assert numbers == [1, 2, 3, 3]  # three texts, and the end
    assert all("timings" in chunk for chunk in made[-4:])
    assert made[-2]["timings"] == made[-1]["timings"] == SHOWN


@each_door
def test_progress(gateway: RunningGateway, path: str, body: dict[str, Any]) -> None:
    made = chunks(gateway, path, body | {"return_progress": True})
    told = [chunk["prompt_progress"] for chunk in made if "prompt_progress" in chunk]
    assert told == [
        {"total": 12, "cache": 2, "processed": 7, "time_ms": 10},
        {"total": 12, "cache": 2, "processed": 12, "time_ms": 20},
    ]
    first = next(at for at, chunk in enumerate(made) if "One" in json.dumps(chunk["choices"]))
    assert all("prompt_progress" not in chunk for chunk in made[first:])


@each_door
def test_what_the_worker_is_asked(
    gateway: RunningGateway, scheduler: ScriptedScheduler, path: str, body: dict[str, Any]
) -> None:
    wanted = {"timings_per_token": True, "return_progress": True}
    with gateway.http() as http:
        for fields in ({}, wanted, wanted | {"stream": True}):
            assert http.post(path, json=body | fields).status_code == 200
    asked = [decode_work(scheduler.next(Submit).work) for _ in range(3)]
    assert [(work.timings, work.progress) for work in asked] == [
        (False, False),
        (True, False),  # nobody sees the progress of an answer that comes as a whole
        (True, True),
    ]


def test_with_the_official_client(gateway: RunningGateway) -> None:
    extra = {"timings_per_token": True, "return_progress": True}
    with gateway.openai() as client:
        stream = client.chat.completions.create(**HELLO, stream=True, extra_body=extra)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream]
        whole = client.chat.completions.create(**HELLO)
    assert "".join(texts) == whole.choices[0].message.content == "One two three."
    assert whole.to_dict()["timings"] == SHOWN


def test_several_prompts_have_none(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        made = http.post("/v1/completions", json=PROMPT | {"prompt": ["One", "Two"]}).json()
    assert "timings" not in made and len(made["choices"]) == 2
    assert not any(
        "timings" in c for c in chunks(gateway, "/v1/completions", PROMPT | {"prompt": ["1", "2"]})
    )


def test_with_legacy_keys(scheduler: ScriptedScheduler, home: Path) -> None:
    with RunningGateway(scheduler.endpoint, home, legacy_keys=True) as gateway:
        made = chunks(gateway, "/v1/chat/completions", HELLO | {"return_progress": True})
        with gateway.http() as http:
            whole = http.post("/v1/chat/completions", json=HELLO).json()
    assert made[-1]["timings"] == whole["timings"] == SHOWN
    assert made[-1]["Successful"] and made[1]["prompt_progress"]["processed"] == 7


def test_of_nothing() -> None:
    """No number is infinite, and no draft is told of where there was none."""
    shown = timings_of(Timings(Usage(5, 0, 5), 0.0, 0.0))
    assert (shown.prompt_per_second, shown.prompt_per_token_ms) == (0.0, 0.0)
    assert (shown.predicted_per_second, shown.predicted_per_token_ms) == (0.0, 0.0)
    assert b"draft" not in msgspec.json.encode(shown)
