"""The addresses that clients make of their base URLs."""

from __future__ import annotations

import json

import pytest

from cupola.cache.system.local_url import is_local, is_loopback
from cupola.gateway.http.cors import Origins
from cupola.gateway.http.paths import known_as
from tests.gateway.running_gateway import HELLO, RunningGateway, request, status_of

CHAT = json.dumps(HELLO).encode()
SAME = {
    "/v1/chat/completions": [
        "/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions/",
    ],
    "/v1/completions": ["/completions", "/completions/"],
    "/v1/embeddings": ["/embeddings"],
    "/v1/responses": ["/responses", "/v1/responses/"],
    "/v1/responses/resp_1": ["/responses/resp_1"],
    "/v1/messages": ["//v1/messages", "/messages"],
    "/v1/messages/count_tokens": ["/messages/count_tokens"],
    "/v1/models": ["/models", "/models/", "//v1/models"],
    "/api/chat": ["//api/chat", "/api/chat/"],
    "/models/loaded": ["/models/loaded/"],
    "/models/load/x": ["/models/load/x"],
    "/health": ["/v1/health", "/health/", "//health"],
    "/": ["", "//"],
}
PAIRS = [(written, meant) for meant, ways in SAME.items() for written in (meant, *ways)]


@pytest.mark.parametrize(("written", "meant"), PAIRS)
def test_meant(written: str, meant: str) -> None:
    assert known_as(written) == meant
    assert known_as(meant) == meant


@pytest.mark.parametrize(
    "path", ["/chat/completions", "//v1/chat/completions", "/v1/chat/completions/"]
)
def test_chat(shared_gateway: RunningGateway, path: str) -> None:
    assert status_of(shared_gateway.send(request("POST", path, CHAT))) == 200


@pytest.mark.parametrize("path", ["/v1/health", "//health", "/models", "/v1/models/"])
def test_read(shared_gateway: RunningGateway, path: str) -> None:
    assert status_of(shared_gateway.send(request("GET", path))) == 200


def test_errors_have_the_form_of_the_address_that_is_meant(shared_gateway: RunningGateway) -> None:
    answer = shared_gateway.send(request("POST", "//v1/messages/", b"{"))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "error"


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost:5273/health", "localhost", 200),
        ("http://127.0.0.1/v1/models", "ignored.example", 200),
        ("http://evil.example/health", "localhost", 403),
        ("http://localhost", "localhost", 200),
    ],
)
def test_whole_url(shared_gateway: RunningGateway, target: str, host: str, status: int) -> None:
    assert status_of(shared_gateway.send(request("GET", target, host=host))) == status


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("app.localhost", True),
        ("a.b.LOCALHOST.", True),
        ("localhost", True),
        ("notlocalhost", False),
        ("localhost.example", False),
        ("app.localhost.example", False),
    ],
)
def test_localhost(shared_gateway: RunningGateway, host: str, local: bool) -> None:
    assert is_local(host) == local
    assert Origins(local=True).allows(f"http://{host}:3000", "127.0.0.1") == local
    answer = shared_gateway.send(request("GET", "/health", host=host))
    assert status_of(answer) == (200 if local else 403)


def test_names_below_localhost_are_not_taken_for_addresses() -> None:
    assert not is_loopback("app.localhost")  # nobody knows where a resolver finds it


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [("/health", "1.0", 200), ("/v1/models", "1.0", 400), ("/health", "1.1", 400)],
)
def test_without_host(shared_gateway: RunningGateway, path: str, version: str, status: int) -> None:
    sent = f"GET {path} HTTP/{version}\r\nConnection: close\r\n\r\n".encode()
    assert status_of(shared_gateway.send(sent)) == status
