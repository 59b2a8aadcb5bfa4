"""The account: every request is counted once, by how it ended, in every API.

A worker without a model answers with the words of the prompt. ``test_counters`` counts the tokens
of a real model, and tests of the engine those of requests that end early.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from cupola.workers.echo import FATAL, FORBIDDEN, SILENT
from tests.service.running_service import MODEL, PATIENCE, Service, counters, eventually

pytestmark = pytest.mark.slow

LONG = 2_000_000  # tokens: nobody waits for the end
OUTCOMES = ("answered", "refused", "failed", "aborted")


@dataclass(frozen=True)
class Api:
    """``body`` makes a body that asks for so many tokens after a text."""

    path: str
    body: Callable[[str, int], dict[str, Any]]
    generates: bool = True

    def __str__(self) -> str:
        return self.path


def messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


APIS = [
    Api("/v1/chat/completions", lambda text, n: {"messages": messages(text), "max_tokens": n}),
    Api("/v1/completions", lambda text, n: {"prompt": text, "max_tokens": n}),
    Api("/v1/responses", lambda text, n: {"input": text, "max_output_tokens": n}),
    Api("/v1/messages", lambda text, n: {"messages": messages(text), "max_tokens": n}),
    Api("/api/chat", lambda t, n: {"messages": messages(t), "options": {"num_predict": n}}),
    Api("/api/generate", lambda text, n: {"prompt": text, "options": {"num_predict": n}}),
    Api("/v1/messages/count_tokens", lambda text, _: {"messages": messages(text)}, False),
    Api("/tokenize", lambda text, _: {"content": text}, False),
    Api("/tokenize", lambda text, _: {"messages": messages(text)}, False),
    Api("/detokenize", lambda text, _: {"tokens": [72, 105]}, False),
    Api("/apply-template", lambda text, _: {"messages": messages(text)}, False),
    Api(
        "/v1/chat/completions/tokenizer/encode/count",
        lambda text, _: {"messages": messages(text)},
        False,
    ),
]
every_api = pytest.mark.parametrize("api", APIS, ids=str)
every_generating_api = pytest.mark.parametrize("api", [a for a in APIS if a.generates], ids=str)
streamed_or_not = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def service(
    place_model: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    place_model(home)
    with Service(home, backend="echo", gateways=1) as running:
        yield running.ready()


class Account:
    """What the service has counted since the last ``settled``."""

    def __init__(self, service: Service, http: httpx2.Client) -> None:
        self._service, self._http = service, http
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        return counters(self._service, self._http)

    def requests(self) -> Counter[str]:
        now = self._now()
        names = {each: f'cupola_requests_total{{outcome="{each}"}}' for each in OUTCOMES}
        return Counter({each: now[name] - self._before[name] for each, name in names.items()})

    def tokens(self) -> int:
        name = "cupola_completion_tokens_total"
        return self._now()[name] - self._before[name]

    def waiting_or_running(self) -> int:
        now = self._now()
        running = sum(
            n for name, n in now.items() if name.startswith("cupola_num_requests_running")
        )
        return running + now["cupola_num_requests_waiting"]


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def account(service: Service, http: httpx2.Client) -> Iterator[Account]:
    account = Account(service, http)
    yield account
    assert account.waiting_or_running() == 0


def ask(service: Service, path: str, body: dict[str, Any], **headers: str) -> httpx2.Response:
    whole = {"model": MODEL, **body}
    return httpx2.post(f"{service.url}{path}", json=whole, headers=headers, timeout=PATIENCE)


@every_api
@streamed_or_not
def test_an_answer(service: Service, account: Account, api: Api, stream: bool) -> None:
    body = api.body("one two three", 7) | ({"stream": stream} if api.generates else {})
    assert ask(service, api.path, body).status_code == 200
    assert +account.requests() == {"answered": 1}
    assert account.tokens() == (7 if api.generates else 0)


@every_api
@pytest.mark.parametrize("wrong", [{"model": "no such"}, {"model": 7}])
def test_what_the_gateway_refuses(
    service: Service, account: Account, api: Api, wrong: dict[str, Any]
) -> None:
    assert 400 <= ask(service, api.path, api.body("Hi", 7) | wrong).status_code < 500
    assert +account.requests() == {"refused": 1}


@every_generating_api
@streamed_or_not
def test_what_the_worker_refuses(
    service: Service, account: Account, api: Api, stream: bool
) -> None:
    answer = ask(service, api.path, api.body(FORBIDDEN, 7) | {"stream": stream})
    assert answer.status_code == 400
    assert +account.requests() == {"refused": 1}


@every_generating_api
@streamed_or_not
def test_what_fails(service: Service, account: Account, api: Api, stream: bool) -> None:
    answer = ask(service, api.path, api.body(FATAL, 7) | {"stream": stream})
    assert answer.status_code == 500
    assert +account.requests() == {"failed": 1}


@every_generating_api
@streamed_or_not
def test_whose_client_leaves(service: Service, account: Account, api: Api, stream: bool) -> None:
    """The tokens that were made until then count."""
    leave(service, account, api.path, api.body(SILENT, LONG), stream)
    assert account.tokens() == 1


@streamed_or_not
def test_no_token_is_made_for_a_client_that_has_left(
    service: Service, account: Account, stream: bool
) -> None:
    leave(service, account, APIS[0].path, APIS[0].body("one two", LONG), stream)
    eventually(lambda: account.tokens() == account.tokens())  # what was on its way is there
    assert 0 < account.tokens() < LONG


def leave(
    service: Service, account: Account, path: str, request: dict[str, Any], stream: bool
) -> None:
    """A client asks, and leaves when it has begun."""
    body = {"model": MODEL, "stream": stream} | request
    with sent(service, path, body) as connection:
        eventually(lambda: account.waiting_or_running() == 1)
        eventually(lambda: account.tokens() > 0)
        if stream:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    eventually(lambda: account.requests()["aborted"] == 1)
    assert +account.requests() == {"aborted": 1}


def sent(service: Service, path: str, body: dict[str, Any]) -> socket.socket:
    """A connection on which a request was sent and nothing is read."""
    url = urlsplit(service.url)
    connection = socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("headers", [{"Origin": "https://elsewhere.example"}, {"Host": "a.test"}])
def test_what_is_refused_at_the_door(
    service: Service, account: Account, headers: dict[str, str]
) -> None:
    answer = ask(service, "/v1/completions", {"prompt": "Hi"}, **headers)
    assert answer.status_code == 403
    assert +account.requests() == {"refused": 1}


def test_who_leaves_before_the_body_is_there(service: Service, account: Account) -> None:
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE) as half:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        half.sendall(head.encode())
    eventually(lambda: account.requests()["aborted"] == 1)
    assert +account.requests() == {"aborted": 1}


def test_a_response_in_the_background(service: Service, account: Account) -> None:
    body = {"input": "one two", "max_output_tokens": 5, "background": True}
    assert ask(service, "/v1/responses", body).status_code == 200
    eventually(lambda: account.requests().total() == 1)
    assert +account.requests() == {"answered": 1}
    assert account.tokens() == 5


def test_each_prompt_of_a_request_counts(service: Service, account: Account) -> None:
    ask(service, "/v1/completions", {"prompt": ["one", "two", "three"], "max_tokens": 2, "n": 1})
    assert +account.requests() == {"answered": 3}
    assert account.tokens() == 6


def test_a_request_for_another_server(service: Service, account: Account) -> None:
    """It never comes to the scheduler. The status of its answer counts."""
    about = {"TypeName": "x", "ModelName": "far", "BaseUri": "http://127.0.0.1:1/v1"}
    registered = httpx2.post(f"{service.url}/openai/register", json=about, timeout=PATIENCE)
    assert registered.status_code == 200
    eventually(lambda: ask_far(service) == 502)
    before = account.requests()
    assert ask_far(service) == 502
    assert account.requests() - before == {"failed": 1}


def ask_far(service: Service) -> int:
    return ask(service, "/v1/chat/completions", {"model": "far", "messages": []}).status_code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/no-such"),
        ("GET", "/v1/completions"),
        ("POST", "/v1/no-such"),
        ("POST", "/api/show"),
        ("GET", f"/openai/load/{MODEL}"),
        ("GET", "/openai/load/no-such"),
        ("GET", f"/openai/unload/{MODEL}"),
    ],
)
def test_what_asks_no_model_does_not_count(
    service: Service, account: Account, method: str, path: str
) -> None:
    with suppress(httpx2.HTTPError):
        httpx2.request(method, f"{service.url}{path}", timeout=PATIENCE)
    assert +account.requests() == {}
