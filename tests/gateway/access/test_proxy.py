"""Requests for registered models reach the paths that are known and no others, and no circle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.gateway.openapi.described import PROXIED
from tests.foundry.provider import Provider
from tests.gateway.running_gateway import RunningGateway, request, status_of
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

BODY = json.dumps({"model": "far", "messages": []}).encode()
FAR = {"TypeName": "far", "ModelName": "far", "ApiKey": "sk-of-the-provider"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def register(gateway: RunningGateway, base: str) -> int:
    with gateway.http() as http:
        return http.post("/openai/register", json=FAR | {"BaseUri": base}).status_code


@pytest.mark.parametrize(
    "path",
    [
        "/v1/%2e%2e/admin",
        "/v1/../admin",
        "/v1/chat/completions/%2e%2e/%2e%2e/admin",
        "/v1/%2e%2e%2fadmin",
        "/v1/files",
        "/v1/chat/completions%3fx=1",
        "/v1/chat%2fcompletions/x",
        "/v1/chat\\completions",
        "/v1/\\..\\admin",
    ],
)
def test_no_other_path_is_reached(gateway: RunningGateway, provider: Provider, path: str) -> None:
    assert register(gateway, provider.base) == 200
    assert status_of(gateway.send(request("POST", path, BODY))) in (404, 405, 501)
    assert provider.asked == []


@pytest.mark.parametrize("path", sorted(PROXIED))
def test_known_paths_are_reached_and_none_of_the_query(
    gateway: RunningGateway, provider: Provider, path: str
) -> None:
    assert register(gateway, provider.base) == 200
    assert status_of(gateway.send(request("POST", f"{path}?a=../..", BODY))) == 200
    assert [asked for asked, _, _ in provider.asked] == [path]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "[::1]", "a.localhost"])
def test_the_service_is_not_registered_with_itself(gateway: RunningGateway, host: str) -> None:
    assert register(gateway, f"http://{host}:{gateway.port}/v1") in (400, 403)


def test_services_that_name_each_other_end_the_circle(
    scheduler: ScriptedScheduler, home: Path
) -> None:
    with (
        RunningGateway(scheduler.endpoint, home) as one,
        RunningGateway(scheduler.endpoint, home) as two,
    ):
        assert register(one, f"{two.url}/v1") == register(two, f"{one.url}/v1") == 200
        with one.http() as http:
            answer = http.post("/v1/chat/completions", content=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (508, "proxy_loop")
