"""A failure is the same in every API: one status, one code, and the parameter's own name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from cupola.cache.store import ModelCache
from cupola.gateway.http.errors import TABLE
from cupola.scheduler.protocol.messages import ErrorCode, Rejected, Submit
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

USER = {"role": "user", "content": "Hello!"}
IDS = {"x-client-request-id": "mine-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7-01"}


@dataclass(frozen=True)
class Endpoint:
    """An endpoint, a good body, and what it calls the parts that a worker can refuse."""

    path: str
    body: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.path


ENDPOINTS = [
    Endpoint(
        "/v1/chat/completions",
        {"messages": [USER], "max_completion_tokens": 5, "guided_regex": "a+"},
        {"prompt": "messages", "constraint": "guided_regex"},
    ),
    Endpoint(
        "/v1/completions",
        {"prompt": "Hello!", "response_format": {"type": "json_object"}},
        {"constraint": "response_format", "prompt_logprobs": "echo", "logit_bias": "logit_bias"},
    ),
    Endpoint(
        "/v1/responses",
        {"input": "Hello!"},
        {"prompt": "input", "constraint": "text.format"},
    ),
    Endpoint("/v1/embeddings", {"input": "Hello!"}, {"texts": "input", "dimensions": "dimensions"}),
    Endpoint(
        "/v1/messages",
        {"messages": [USER], "max_tokens": 5},
        {"prompt": "messages", "constraint": "output_config.format"},
    ),
    Endpoint("/v1/messages/count_tokens", {"messages": [USER]}, {"prompt": "messages"}),
    Endpoint(
        "/api/chat",
        {"messages": [USER]},
        {"prompt": "messages", "constraint": "format"},
    ),
    Endpoint("/api/generate", {"prompt": "Hello!"}, {"prompt": "prompt", "constraint": "format"}),
    Endpoint("/api/embed", {"input": "Hello!"}, {"texts": "input"}),
    Endpoint("/api/embeddings", {"prompt": "Hello!"}, {"texts": "prompt"}),
    Endpoint("/tokenize", {"content": "Hello!"}, {"prompt": "content"}),
    Endpoint("/detokenize", {"tokens": [1]}, {"ids": "tokens"}),
    Endpoint("/apply-template", {"messages": [USER]}, {"prompt": "messages"}),
    Endpoint(
        "/v1/chat/completions/tokenizer/encode/count",
        {"messages": [USER]},
        {"prompt": "messages"},
    ),
]
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)


def failure(answer: httpx2.Response) -> tuple[int, str | None, str | None]:
    """(status, code, param) in any API's form. What every failure must have is checked here."""
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

    def ask(self, endpoint: Endpoint, **changes: Any) -> tuple[int, str | None, str | None]:
        body = {"model": MODEL, **endpoint.body} | changes
        return self.raw(endpoint.path, content=json.dumps(body))

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
    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            yield Rejected(request.request_id, code, "it went wrong", param)

    scheduler.script = script


# -- what goes wrong below the gateway -------------------------------------------------------------


@every_endpoint
def test_every_code_of_the_table(
    client: Client, shared_scheduler: ScriptedScheduler, endpoint: Endpoint
) -> None:
    for code, shape in TABLE.items():
        refuse(shared_scheduler, code)
        status, failed, _ = client.ask(endpoint)
        overloaded = code in (ErrorCode.QUEUE_FULL, ErrorCode.QUEUE_TIMEOUT)
        claude = endpoint.path.startswith("/v1/messages")
        assert status == (529 if overloaded and claude else shape.status)
        assert failed == shape.code


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [(endpoint, part) for endpoint in ENDPOINTS for part in endpoint.names],
    ids=str,
)
def test_the_part_to_blame_has_the_name_that_the_client_wrote(
    client: Client, shared_scheduler: ScriptedScheduler, endpoint: Endpoint, part: str
) -> None:
    refuse(shared_scheduler, ErrorCode.INVALID_REQUEST, part)
    assert client.ask(endpoint) == (400, "invalid_request", endpoint.names[part])


def test_a_constraint_that_tools_make_is_the_fault_of_the_tools(
    client: Client, shared_scheduler: ScriptedScheduler
) -> None:
    refuse(shared_scheduler, ErrorCode.INVALID_REQUEST, "constraint")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    endpoint = Endpoint("/v1/chat/completions", {"messages": [USER]})
    failed = client.ask(endpoint, tools=[tool], tool_choice="required")
    assert failed == (400, "invalid_request", "tools")


# -- what the gateway refuses ----------------------------------------------------------------------


@every_endpoint
def test_no_json(client: Client, endpoint: Endpoint) -> None:
    assert client.raw(endpoint.path, content=b"{") == (400, "invalid_json", None)
    assert client.raw(endpoint.path, content=b"\xff") == (400, "invalid_json", None)
    assert client.raw(endpoint.path) == (400, "invalid_json", None)


@every_endpoint
def test_no_object(client: Client, endpoint: Endpoint) -> None:
    assert client.raw(endpoint.path, content=b"[]") == (400, "invalid_type", None)


@every_endpoint
def test_wrong_type(client: Client, endpoint: Endpoint) -> None:
    assert client.ask(endpoint, model=5) == (400, "invalid_type", "model")


@every_endpoint
def test_wrong_value(client: Client, endpoint: Endpoint) -> None:
    assert client.ask(endpoint, model="") == (400, "invalid_value", "model")


@every_endpoint
def test_misspelled(client: Client, endpoint: Endpoint) -> None:
    assert client.ask(endpoint, modell="x") == (400, "unknown_parameter", "modell")


VECTORS = {"/v1/embeddings", "/api/embed", "/api/embeddings"}  # the default model makes none


@pytest.mark.parametrize("endpoint", [d for d in ENDPOINTS if d.path in VECTORS], ids=str)
def test_missing(client: Client, endpoint: Endpoint) -> None:
    failed = client.raw(endpoint.path, content=json.dumps(endpoint.body))
    assert failed == (400, "missing_required_parameter", "model")


@every_endpoint
def test_unknown_model(client: Client, endpoint: Endpoint) -> None:
    assert client.ask(endpoint, model="nowhere") == (404, "model_not_found", "model")


@every_endpoint
def test_body_that_is_too_long(client: Client, endpoint: Endpoint) -> None:
    assert client.ask(endpoint, user="x" * 100_000) == (413, "request_too_large", None)


@every_endpoint
def test_wrong_method(client: Client, endpoint: Endpoint) -> None:
    assert client.raw(endpoint.path, "PUT") == (405, "method_not_allowed", None)


@every_endpoint
def test_page_of_another_site(client: Client, endpoint: Endpoint) -> None:
    failed = client.raw(endpoint.path, headers={"origin": "https://example.org"})
    assert failed == (403, "forbidden_origin", None)


@every_endpoint
def test_name_of_another_host(client: Client, endpoint: Endpoint) -> None:
    failed = client.raw(endpoint.path, headers={"host": "example.org"})
    assert failed == (403, "forbidden_host", "host")


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/v1/messages/nothing", "/api/nothing"])
def test_no_such_address(client: Client, path: str) -> None:
    if path != "/":
        assert client.raw(path) == (404, "unknown_url", None)
    assert client.raw(path, "PROPFIND")[0] in (404, 405)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_what_nobody_caught(client: Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def broken(self: ModelCache, key: str) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(ModelCache, "find", broken)
    body = {"model": "another", "max_tokens": 5, "messages": [USER]}
    assert client.raw(path, json=body) == (500, "internal_error", None)
