"""Bodies that would take long to read: refused early, or read beside the others' requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from cupola.gateway.anthropic.body import MessagesRequest
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.ollama.body import OllamaChat
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.body.embeddings import EmbeddingsRequest
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from tests.gateway.conftest import furnished
from tests.gateway.running_gateway import (
    HELLO,
    MODEL,
    RunningGateway,
    error_of,
    request,
    status_of,
)
from tests.gateway.scripted_scheduler import ScriptedScheduler

USER = {"role": "user", "content": "Hi"}
MANY = 1000
# Lists, and what is wrong in them.
WRONG: list[tuple[type[Endpoint], str, Any]] = [
    (ChatRequest, "messages", 0),
    (ChatRequest, "messages", {"role": "user"}),
    (ChatRequest, "tools", {}),
    (ChatRequest, "functions", 3),
    (ChatRequest, "stop", 3),
    (ChatRequest, "stop_token_ids", -1),
    (ChatRequest, "guided_choice", 0),
    (ChatRequest, "modalities", 0),
    (CompletionRequest, "prompt", True),
    (CompletionRequest, "prompt", [True]),
    (EmbeddingsRequest, "input", True),
    (EmbeddingsRequest, "input", [True]),
    (ResponsesRequest, "input", 0),
    (ResponsesRequest, "input", {"type": "function_call"}),
    (ResponsesRequest, "tools", {}),
    (ResponsesRequest, "include", 0),
    (MessagesRequest, "messages", 0),
    (MessagesRequest, "system", {"type": "text"}),
    (MessagesRequest, "tools", {}),
    (OllamaChat, "messages", 0),
]


@pytest.mark.parametrize(("body", "field", "wrong"), WRONG)
def test_errors_are_not_collected(body: type[Endpoint], field: str, wrong: Any) -> None:
    fields: dict[str, Any] = {"model": "m", "messages": [USER], "prompt": "Hi", "input": "Hi"}
    fields["max_tokens"] = 5
    fields = {name: fields[name] for name in fields if name in body.model_fields}
    with pytest.raises(ValidationError) as raised:
        body.model_validate_json(json.dumps(fields | {field: [wrong] * MANY}))
    assert raised.value.error_count() < 20  # of the first element, in each branch of a union


def test_errors_of_a_dictionary_are_not_collected() -> None:
    bias = {str(token): "a" for token in range(MANY)}
    with pytest.raises(ValidationError) as raised:
        ChatRequest.model_validate_json(json.dumps(HELLO | {"logit_bias": bias}))
    assert raised.value.error_count() == 1


PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/v1/embeddings"]


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    home = furnished(tmp_path_factory.mktemp("home"))
    with (
        ScriptedScheduler() as scheduler,
        RunningGateway(scheduler.endpoint, home, max_body_bytes=16 * 2**20) as gateway,
    ):
        yield gateway


@pytest.mark.parametrize("path", [*PATHS, "/openai/download", "/openai/register", "/nowhere"])
@pytest.mark.parametrize(
    "body",
    [
        '{"model": "x", "messages": [' + "0," * 1_000_000 + "0]}",
        '{"model": "x", "input": [' + '"",' * 1_000_000 + '""]}',
        '{"model": ' + "[" * 50_000 + "]" * 50_000 + "}",
        "{" + '"a":{' * 50_000,
    ],
    ids=["numbers", "texts", "lists", "objects"],
)
def test_too_much_is_refused(roomy: RunningGateway, path: str, body: str) -> None:
    answer = roomy.send(request("POST", path, body.encode()))
    assert status_of(answer) == 413


def test_others_are_answered_meanwhile(roomy: RunningGateway) -> None:
    """While a body as large as allowed is read, requests on another connection are answered."""
    messages = [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}] * 4900
    body = json.dumps({"model": MODEL, "max_tokens": 5, "messages": [*messages, USER]})
    connection = roomy.connect()
    connection.sendall(request("POST", "/v1/messages", body.encode()))
    connection.setblocking(False)
    answered = 0
    while True:
        try:
            begin = connection.recv(100)
            break
        except BlockingIOError:
            assert status_of(roomy.send(request("GET", "/health"))) == 200
            answered += 1
    connection.close()
    assert begin.startswith(b"HTTP/1.1 200")
    assert answered > 2


def test_small_ones_of_each_kind_are_as_before(roomy: RunningGateway) -> None:
    answer = roomy.send(request("POST", PATHS[0], json.dumps(HELLO | {"messages": [0]}).encode()))
    assert error_of(answer)["param"] == "messages[0]"
