"""A limit on new tokens beyond the context is shortened in every API, and a header says so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from cupola.scheduler.protocol.messages import Outputs, Submit, decode_work
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import Work
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

USER = {"role": "user", "content": "Hello!"}
FAR = 10_000_000
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [USER], "max_completion_tokens": FAR},
    "/v1/completions": {"prompt": ["Hello!", "Bye!"], "max_tokens": FAR},
    "/v1/responses": {"input": "Hello!", "max_output_tokens": FAR, "store": False},
    "/v1/messages": {"messages": [USER], "max_tokens": FAR},
    "/api/chat": {"messages": [USER], "options": {"num_predict": FAR}},
    "/api/generate": {"prompt": "Hello!", "options": {"num_predict": FAR}},
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("room", [0, 77])
def test_the_header_tells_what_fits(
    shared_gateway: RunningGateway,
    shared_scheduler: ScriptedScheduler,
    path: str,
    stream: bool,
    room: int,
) -> None:
    wanted: list[int | None] = []

    def script(message: Any) -> Iterable[Outputs]:
        if isinstance(message, Submit):
            work = decode_work(message.work)
            assert isinstance(work, Work)
            wanted.append(work.sampling.max_tokens)
            first = Output(message.request_id, "Hi", prompt_usage=Usage(5, 1), room=room, made=1)
            yield Outputs((first,))
            last = Output(message.request_id, "!", FinishReason.LENGTH, Usage(5, 2), made=1)
            yield Outputs((last,))

    shared_scheduler.script = script
    body = {"model": MODEL, "stream": stream} | BODIES[path]
    with shared_gateway.http() as http:
        answer = http.post(path, json=body)
    assert answer.status_code == 200
    assert set(wanted) == {FAR}
    assert answer.headers.get("x-cupola-max-tokens") == (str(room) if room else None)


def test_the_description_names_the_header(shared_gateway: RunningGateway) -> None:
    with shared_gateway.http() as http:
        paths = http.get("/openapi.json").json()["paths"]
    described = {
        path
        for path, methods in paths.items()
        if "post" in methods and "x-cupola-max-tokens" in json.dumps(methods["post"])
    }
    assert described == set(BODIES)
