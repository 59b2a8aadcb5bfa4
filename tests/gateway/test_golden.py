"""The exact bytes of answers, whole and streamed: a file for each. Ids and times are replaced.

``CUPOLA_TEST_WRITE_GOLDEN=1`` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Outputs, Submit, decode_work
from cupola.scheduler.protocol.outputs import FinishReason, Output, TokenLogprob, Usage
from cupola.scheduler.protocol.tasks import Work
from tests.gateway.running_gateway import HELLO, MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

GOLDEN = Path(__file__).parent / "golden"
WRITE = "CUPOLA_TEST_WRITE_GOLDEN"
PIECES = (
    "<think>", "Rain", "?", "</think>", "\n\n", "Let me", " look.", "\n<tool_call>",
    '{"name": "get_weather"', ', "arguments": {"city":', ' "Paris"}}', "</tool_call>",
)  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "get_weather"}}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
PROMPT = {"model": MODEL, "prompt": "Once"}
CASES: dict[str, tuple[str, str, Any]] = {
    "chat": ("POST", "/v1/chat/completions", HELLO),
    "chat-stream": ("POST", "/v1/chat/completions", HELLO | STREAM),
    "chat-tools": ("POST", "/v1/chat/completions", HELLO | {"tools": TOOLS}),
    "chat-tools-stream": ("POST", "/v1/chat/completions", HELLO | {"tools": TOOLS} | STREAM),
    "chat-logprobs": (
        "POST", "/v1/chat/completions", HELLO | {"logprobs": True, "top_logprobs": 1, "n": 2},
    ),
    "chat-logprobs-stream": ("POST", "/v1/chat/completions", HELLO | {"logprobs": True} | STREAM),
    "completions": ("POST", "/v1/completions", PROMPT | {"logprobs": 1}),
    "completions-stream": ("POST", "/v1/completions", PROMPT | {"logprobs": 1} | STREAM),
    "models": ("GET", "/v1/models", None),
    "model": ("GET", f"/v1/models/{MODEL}", None),
    "error-parameter": ("POST", "/v1/chat/completions", HELLO | {"temprature": 1}),
    "error-model": ("POST", "/v1/completions", PROMPT | {"model": "smolm2"}),
    "error-endpoint": ("POST", "/v1/images/generations", {}),
}  # fmt: skip


def answers(request: Any) -> Iterable[Any]:
    if not isinstance(request, Submit):
        return
    work = decode_work(request.work)
    assert isinstance(work, Work)
    pieces = ("Grüße", ", ", "Welt") if work.sampling.logprobs is not None else PIECES
    for index in range(work.answers):
        for piece in pieces:
            top = ((piece.encode(), -0.25),) if work.sampling.logprobs else ()
            logprobs = (TokenLogprob(piece.encode(), -0.25, top),)
            wanted = logprobs if work.sampling.logprobs is not None else ()
            yield Outputs(
                (Output(request.request_id, piece, index=index, logprobs=wanted, made=1),)
            )
        total = len(pieces) * work.answers
        usage = Usage(7, total, 3) if index == work.answers - 1 else None
        yield Outputs((Output(request.request_id, "", FinishReason.STOP, usage, index),))


def without_chance(text: str) -> str:
    """The text without what differs from run to run and from version to version."""
    text = re.sub(r"(chatcmpl-|cmpl-|call_)[0-9a-f]{24,32}", r"\1ID", text)
    text = re.sub(r'"created":\d{10}', '"created":0', text)
    return re.sub(r'"cupola-[^"]+"', '"cupola-VERSION"', text)


@pytest.mark.parametrize("name", CASES)
def test_exact(
    gateway: RunningGateway, scheduler: ScriptedScheduler, home: Path, name: str
) -> None:
    template = "{{ tools }}<tool_call><think></think>" if "tools" in name else ""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    scheduler.script = answers
    method, path, body = CASES[name]
    with gateway.http() as http:
        answer = http.request(method, path, json=body)
    head = f"{answer.status_code} {answer.headers['content-type']}\n\n"
    text = head + without_chance(answer.text)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get(WRITE) and (not file.exists() or text != file.read_text("utf-8")):
        file.write_text(text, "utf-8")
        pytest.fail(f"{file.name} was written anew: read the difference")
    assert text == file.read_text("utf-8")


def test_no_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)
