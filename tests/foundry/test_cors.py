"""What a browser needs before a page may use the service."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from cupola.gateway.http.cors import Origins
from tests.foundry import wire
from tests.foundry.conftest import client
from tests.service.running_service import Service

PAGE = "http://localhost:5500"


def preflight(http: httpx2.Client, origin: str, **more: str) -> httpx2.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"} | more
    return http.options("/openai/download", headers=asked)


def test_a_page_of_this_machine_may_read_the_answers(http: httpx2.Client) -> None:
    for path in ("/foundry/list", "/openai/load/unknown", "/no/such/route"):
        answer = http.get(path, headers={"Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


def test_without_an_origin_nothing_is_added(http: httpx2.Client) -> None:
    assert "access-control-allow-origin" not in http.get("/foundry/list").headers


def test_preflight(http: httpx2.Client) -> None:
    wanted = {"Access-Control-Request-Headers": "authorization,content-type,x-stainless-os"}
    answer = preflight(http, PAGE, **wanted)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"]
    assert allowed == wanted["Access-Control-Request-Headers"]
    assert "access-control-allow-private-network" not in answer.headers


def test_preflight_from_the_public_network_to_this_machine(http: httpx2.Client) -> None:
    answer = preflight(http, PAGE, **{"Access-Control-Request-Private-Network": "true"})
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://", "evil"])
def test_other_pages_may_not(http: httpx2.Client, origin: str) -> None:
    assert preflight(http, origin).status_code == 403
    answer = http.get("/foundry/list", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_origins_of_the_settings(start: Callable[..., Service]) -> None:
    service = start(cors_origins="https://app.example, null,file://,vscode-webview://*")
    with client(service) as http:
        for origin in ("https://app.example", "null", "file://", "vscode-webview://1a2b", PAGE):
            answer = http.get("/foundry/list", headers={"Origin": origin})
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == origin
            assert preflight(http, origin).status_code == 204
        for origin in ("https://app.example.org", "http://app.example", "https://b.example"):
            assert http.get("/foundry/list", headers={"Origin": origin}).status_code == 403


def test_a_streamed_answer_can_be_read(shared: Service) -> None:
    asked = wire.request("POST", "/openai/download", {"model": "nothing"}, f"Origin: {PAGE}")
    answer = wire.ask(shared.url, asked)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert len(answer.chunks) == 2


@pytest.mark.parametrize(("local", "named", "origin", "host", "allowed"), [
    (True, (), "http://127.0.0.1:1", "localhost:5273", True),
    (False, (), "http://127.0.0.1:1", "box:5273", False),
    (False, (), "http://box:5273", "box:5273", True),
    (False, (), "http://box:1", "box:5273", False),
    (False, ("*",), "https://any.example", "box:5273", True),
    (True, ("https://*.example",), "https://a.example", "localhost", True),
    (True, ("https://*.example",), "https://example", "localhost", False),
    (True, (), "http://[", "localhost", False),
    (True, (), "", "", False),
])  # fmt: skip
def test_who_is_allowed(
    local: bool, named: tuple[str, ...], origin: str, host: str, allowed: bool
) -> None:
    assert Origins(local, named).allows(origin, host) is allowed
