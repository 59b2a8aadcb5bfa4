"""A failure is the same failure in every door: one status, one code, and the culprit's own name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from cupola.gateway.http.errors import TABLE
from cupola.scheduler.protocol.messages import ErrorCode, Rejected, Submit
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

USER = {"role": "user", "content": "Hello!"}
IDS = {"x-client-request-id": "mine-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7-01"}


@dataclass(frozen=True)
class Door:
    """An endpoint, a good body, and what it calls the parts that a worker can refuse."""

    path: str
    body: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.path


DOORS = [
    Door(
        "/v1/chat/completions",
        {"messages": [USER], "max_completion_tokens": 5, "guided_regex": "a+"},
        {"prompt": "messages", "max_tokens": "max_completion_tokens", "constraint": "guided_regex"},
    ),
    Door(
        "/v1/completions",
        {"prompt": "Hello!", "response_format": {"type": "json_object"}},
        {"constraint": "response_format", "prompt_logprobs": "echo", "logit_bias": "logit_bias"},
    ),
    Door(
        "/v1/responses",
        {"input": "Hello!"},
        {"prompt": "input", "max_tokens": "max_output_tokens", "constraint": "text.format"},
    ),
    Door("/v1/embeddings", {"input": "Hello!"}, {"texts": "input", "dimensions": "dimensions"}),
    Door(
        "/v1/messages",
        {"messages": [USER], "max_tokens": 5},
        {"prompt": "messages", "max_tokens": "max_tokens", "constraint": "output_config.format"},
    ),
    Door("/v1/messages/count_tokens", {"messages": [USER]}, {"prompt": "messages"}),
    Door(
        "/api/chat",
        {"messages": [USER]},
        {"prompt": "messages", "max_tokens": "options.num_predict", "constraint": "format"},
    ),
    Door("/api/generate", {"prompt": "Hello!"}, {"prompt": "prompt", "constraint": "format"}),
    Door("/api/embed", {"input": "Hello!"}, {"texts": "input"}),
    Door("/api/embeddings", {"prompt": "Hello!"}, {"texts": "prompt"}),
    Door("/tokenize", {"content": "Hello!"}, {"prompt": "content"}),
    Door("/detokenize", {"tokens": [1]}, {"ids": "tokens"}),
    Door("/apply-template", {"messages": [USER]}, {"prompt": "messages"}),
    Door(
        "/v1/chat/completions/tokenizer/encode/count",
        {"messages": [USER]},
        {"prompt": "messages"},
    ),
]
every_door = pytest.mark.parametrize("door", DOORS, ids=str)


def failure(answer: httpx2.Response) -> tuple[int, str | None, str | None]:
    """(status, code, param) in any door's words. What every failure must have is checked here."""
    assert answer.headers["x-request-id"].startswith("req_")
    assert {name: answer.headers[name] for name in IDS} == IDS
    body = answer.json()
    if answer.request.url.path.startswith("/api/"):
        error = body
        assert isinstance(error["error"], str) and error["error"]
    else:
        error = body["error"]
        assert error["message"] and error["type"]
    if answer.request.url.path.startswith("/v1/messages"):
        assert body["type"] == "error"
        assert body["request_id"] == answer.headers["x-request-id"] == answer.headers["request-id"]
    return answer.status_code, error["code"], error["param"]


class Client:
    """Asks a gateway and reads its failures, over one connection."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def ask(self, door: Door, **changes: Any) -> tuple[int, str | None, str | None]:
        body = {"model": MODEL, **door.body} | changes
        return self.raw(door.path, content=json.dumps(body))

    def raw(
        self, path: str, method: str = "POST", **given: Any
    ) -> tuple[int, str | None, str | None]:
        headers = IDS | given.pop("headers", {})
        return failure(self._http.request(method, path, headers=headers, **given))


@pytest.fixture(scope="module")
def client(shared_gateway: RunningGateway) -> Iterator[Client]:
    with shared_gateway.http() as http:
        yield Client(http)


def refuse(scheduler: ScriptedScheduler, code: ErrorCode, param: str = "") -> None:
    def script(asked: Any) -> Iterable[Any]:
        if isinstance(asked, Submit):
            yield Rejected(asked.request_id, code, "it went wrong", param)

    scheduler.script = script


# -- what goes wrong below the gateway -------------------------------------------------------------


@every_door
def test_every_code_of_the_table(
    client: Client, shared_scheduler: ScriptedScheduler, door: Door
) -> None:
    for code, shape in TABLE.items():
        refuse(shared_scheduler, code)
        status, told, _ = client.ask(door)
        overloaded = code in (ErrorCode.QUEUE_FULL, ErrorCode.QUEUE_TIMEOUT)
        claude = door.path.startswith("/v1/messages")
        assert status == (529 if overloaded and claude else shape.status)
        assert told == shape.code


@pytest.mark.parametrize(
    ("door", "part"), [(door, part) for door in DOORS for part in door.names], ids=str
)
def test_the_culprit_has_the_name_that_the_client_wrote(
    client: Client, shared_scheduler: ScriptedScheduler, door: Door, part: str
) -> None:
    refuse(shared_scheduler, ErrorCode.INVALID_REQUEST, part)
    assert client.ask(door) == (400, "invalid_request", door.names[part])


def test_a_constraint_that_tools_make_is_the_fault_of_the_tools(
    client: Client, shared_scheduler: ScriptedScheduler
) -> None:
    refuse(shared_scheduler, ErrorCode.INVALID_REQUEST, "constraint")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    door = Door("/v1/chat/completions", {"messages": [USER]})
    told = client.ask(door, tools=[tool], tool_choice="required")
    assert told == (400, "invalid_request", "tools")


# -- what the gateway refuses ----------------------------------------------------------------------


@every_door
def test_no_json(client: Client, door: Door) -> None:
    assert client.raw(door.path, content=b"{") == (400, "invalid_json", None)
    assert client.raw(door.path, content=b"\xff") == (400, "invalid_json", None)
    assert client.raw(door.path) == (400, "invalid_json", None)


@every_door
def test_no_object(client: Client, door: Door) -> None:
    assert client.raw(door.path, content=b"[]") == (400, "invalid_type", None)


@every_door
def test_wrong_type(client: Client, door: Door) -> None:
    assert client.ask(door, model=5) == (400, "invalid_type", "model")


@every_door
def test_wrong_value(client: Client, door: Door) -> None:
    assert client.ask(door, model="") == (400, "invalid_value", "model")


@every_door
def test_misspelled(client: Client, door: Door) -> None:
    assert client.ask(door, modell="x") == (400, "unknown_parameter", "modell")


DEFAULT_MODEL = {"/tokenize", "/detokenize", "/apply-template"}  # where a model may be left out


@pytest.mark.parametrize("door", [d for d in DOORS if d.path not in DEFAULT_MODEL], ids=str)
def test_missing(client: Client, door: Door) -> None:
    told = client.raw(door.path, content=json.dumps(door.body))
    assert told == (400, "missing_required_parameter", "model")


@every_door
def test_unknown_model(client: Client, door: Door) -> None:
    assert client.ask(door, model="nowhere") == (404, "model_not_found", "model")


@every_door
def test_body_that_is_too_long(client: Client, door: Door) -> None:
    assert client.ask(door, user="x" * 100_000) == (413, "request_too_large", None)


@every_door
def test_wrong_method(client: Client, door: Door) -> None:
    assert client.raw(door.path, "PUT") == (405, "method_not_allowed", None)


@every_door
def test_page_of_another_site(client: Client, door: Door) -> None:
    told = client.raw(door.path, headers={"origin": "https://example.org"})
    assert told == (403, "forbidden_origin", None)


@every_door
def test_name_of_another_host(client: Client, door: Door) -> None:
    told = client.raw(door.path, headers={"host": "example.org"})
    assert told == (403, "forbidden_host", "host")


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/v1/messages/nothing", "/api/nothing"])
def test_no_such_address(client: Client, path: str) -> None:
    if path != "/":
        assert client.raw(path) == (404, "unknown_url", None)
    assert client.raw(path, "PROPFIND")[0] in (404, 405)
