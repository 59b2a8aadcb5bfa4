"""Models of other servers: registered, listed, proxied, streamed, forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.foundry import wire
from tests.foundry.conftest import ALIAS, MODEL_ID, client
from tests.foundry.provider import Provider
from tests.service.running_service import Service, eventually

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "hi"}]
CHAT = "/v1/chat/completions"
KEY = "sk-secret-of-the-provider"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def register(
    http: httpx2.Client, base: str, name: str = "Far-Chat", **more: str
) -> httpx2.Response:
    asked = {"TypeName": "far", "ModelName": name, "BaseUri": base} | more
    return http.post("/openai/register", json=asked)


@pytest.fixture
def far(http: httpx2.Client, provider: Provider) -> Iterator[httpx2.Client]:
    """A client of a service that knows the provider's model."""
    answer = register(http, provider.base, ApiKey=KEY)
    assert (answer.status_code, answer.content) == (200, b"")
    yield http
    assert http.delete("/openai/register/far-chat").status_code == 200


def test_it_is_in_every_list(far: httpx2.Client) -> None:
    assert far.get("/openai/models").json() == [MODEL_ID, "Far-Chat"]
    *_, entry = far.get("/foundry/list").json()
    assert (entry["name"], entry["alias"], entry["providerType"]) == ("Far-Chat", "Far-Chat", "far")
    assert None not in entry.values()
    assert [model["id"] for model in far.get("/v1/models").json()["data"]] == [MODEL_ID, "Far-Chat"]
    assert far.get("/v1/models/far-chat").json()["owned_by"] == "far"


def test_its_key_is_nowhere_to_be_seen(far: httpx2.Client, shared: Service) -> None:
    for path in ("/foundry/list", "/v1/models", "/openai/status", "/ready"):
        assert KEY not in far.get(path).text
    assert not any(KEY in line for line in shared.log)


def test_a_request_is_passed_on(far: httpx2.Client, provider: Provider) -> None:
    body = {"model": "FAR-CHAT", "messages": HELLO, "own": {"extra": [1, 2.5, None]}}
    answer = far.post(CHAT, json=body, headers={"Authorization": "Bearer mine", "Cookie": "a=b"})
    assert answer.json() == {"id": "far-1"}
    assert "set-cookie" not in answer.headers
    [(path, headers, asked)] = provider.asked
    assert path == "/v1/chat/completions"
    assert asked == body | {"model": "Far-Chat"}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "cookie" not in headers


def test_other_doors_are_passed_on_too(far: httpx2.Client, provider: Provider) -> None:
    assert far.post("/v1/embeddings", json={"model": "far-chat", "input": "x"}).status_code == 200
    assert [path for path, _, _ in provider.asked] == ["/v1/embeddings"]


def test_a_refusal_comes_back_as_it_is(far: httpx2.Client) -> None:
    answer = far.post(CHAT, json={"model": "far-chat", "messages": HELLO, "refuse": True})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"error": {"message": "no"}}


def streamed(**more: Any) -> bytes:
    return wire.request("POST", CHAT, {"model": "far-chat", "messages": HELLO, "stream": True})


def test_a_stream_comes_through_piece_by_piece(
    far: httpx2.Client, shared: Service, provider: Provider
) -> None:
    with wire.connect(shared.url) as connection:
        connection.sendall(streamed())
        begin = b""
        while b'{"n":1}' not in begin:
            begin += connection.recv(65536)
        assert b"text/event-stream" in begin
        provider.go_on.set()
        assert b"[DONE]" in b"".join(wire.arrivals(connection))


def test_a_client_that_leaves_ends_the_request_to_the_provider(
    far: httpx2.Client, shared: Service, provider: Provider
) -> None:
    with wire.connect(shared.url) as connection:
        connection.sendall(streamed())
        while b'{"n":1}' not in connection.recv(65536):
            pass
    assert provider.left.wait(wire.PATIENCE)


def test_loading_and_downloading_it_are_nothing_to_do(far: httpx2.Client) -> None:
    for path in ("/openai/load/far-chat?ttl=600", "/openai/unload/far-chat?force=true"):
        assert (far.get(path).status_code, far.get(path).content) == (200, b"")
    assert far.get("/models/load/far-chat").json() == {"status": "already_loaded"}
    assert far.get("/models/unload/far-chat").json() == {"status": "not_loaded"}
    assert '{"success":true' in far.post("/openai/download", json={"model": "far-chat"}).text


def test_the_models_of_this_service_still_answer(far: httpx2.Client, provider: Provider) -> None:
    assert far.post(CHAT, json={"model": ALIAS, "messages": HELLO}).json()["model"] == MODEL_ID
    assert far.post(CHAT, content=b"{").status_code == 400
    assert far.post(CHAT, json={"model": "unknown", "messages": HELLO}).status_code == 404
    assert provider.asked == []


def test_a_provider_that_does_not_answer(http: httpx2.Client) -> None:
    assert register(http, "http://127.0.0.1:1/v1").status_code == 200
    answer = http.post(CHAT, json={"model": "far-chat", "messages": HELLO})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_unreachable")
    http.delete("/openai/register/far-chat")
    assert http.post(CHAT, json={"model": "far-chat", "messages": HELLO}).status_code == 404
    assert http.delete("/openai/register/far-chat").status_code == 404


@pytest.mark.parametrize(("base", "status"), [
    ("http://example.com/v1", 403), ("http://127.0.0.1.example.com/v1", 403),
    ("http://169.254.169.254/latest", 403), ("http://localhost@example.com/v1", 400),
    ("http://user:key@localhost/v1", 400), ("file:///etc/passwd", 400), ("ftp://localhost", 400),
    ("http://", 400), ("http://[", 400), ("localhost:80", 400), ("http://localhost:99999/", 400),
    ("http://localhost/v1?a=b", 400),
])  # fmt: skip
def test_addresses_that_are_not_allowed(http: httpx2.Client, base: str, status: int) -> None:
    assert register(http, base).status_code == status
    assert http.get("/openai/models").json() == [MODEL_ID]


def test_hosts_of_the_settings(start: Callable[..., Service]) -> None:
    with client(start(remote_hosts="api.example.com, other.example")) as http:
        assert register(http, "https://API.example.com/v1").status_code == 200
        assert register(http, "https://www.example.com/v1", "b").status_code == 403


@pytest.mark.parametrize("name", [ALIAS, MODEL_ID, ALIAS.upper()])
def test_names_of_this_service_are_taken(http: httpx2.Client, name: str) -> None:
    answer = register(http, "http://localhost:1/v1", name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_exists")


@pytest.mark.parametrize("sent", [b"", b"[]", b'{"ModelName": 5}', b"{}", b'{"ModelName": "x"}'])
def test_bodies_that_register_nothing(http: httpx2.Client, sent: bytes) -> None:
    assert http.post("/openai/register", content=sent).status_code == 400


def test_all_gateways_know_it_also_after_their_deaths(
    start: Callable[..., Service], provider: Provider
) -> None:
    service = start(gateways=2)

    def gateways() -> dict[int, list[str]]:
        """What each of the gateways lists; a connection meets any of them."""
        seen: dict[int, list[str]] = {}
        for _ in range(20):
            with client(service) as http:
                pid = http.get("/ready").json()["processes"]["gateway"]
                seen[pid] = http.get("/openai/models").json()
        return seen

    with client(service) as http:
        assert register(http, provider.base).status_code == 200
    eventually(lambda: list(gateways().values()) == [["Far-Chat"]] * 2)
    first = service.child("gateway")
    first.kill()
    first.wait(wire.PATIENCE)
    eventually(lambda: len(gateways()) == 2)
    eventually(lambda: list(gateways().values()) == [["Far-Chat"]] * 2)
