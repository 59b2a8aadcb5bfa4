"""A service that demands keys: every route, every form of key, and what a key allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from cupola.cache.home import Home
from cupola.cache.system.api_keys import ApiKey, KeyFile, digest, new_key
from cupola.gateway.access.authentication import OPEN
from cupola.gateway.access.key_ring import LOOK_SECONDS, KeyRing
from cupola.gateway.openapi.described import DescribedRoute
from cupola.scheduler.protocol.messages import LoadModel, Status
from tests.gateway.conftest import furnished
from tests.gateway.running_gateway import (
    HELLO,
    MODEL,
    MODEL_ID,
    RunningGateway,
    request,
    status_of,
)
from tests.gateway.scripted_scheduler import WORKER, ScriptedScheduler

APP, ADMIN, NARROW, SLOW = (new_key() for _ in range(4))
KEYS = (
    ApiKey("app", digest(APP)),
    ApiKey("admin", digest(ADMIN), admin=True),
    ApiKey("narrow", digest(NARROW), models=("other*",)),
    ApiKey("slow", digest(SLOW), per_minute=1),
)
CHAT = "/v1/chat/completions"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def locked(
    shared_scheduler: ScriptedScheduler, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    home = furnished(tmp_path_factory.mktemp("locked"))
    with RunningGateway(
        shared_scheduler.endpoint, home, keys_demanded=True, keys=KEYS, host="0.0.0.0"
    ) as gateway:
        yield gateway


def described(gateway: RunningGateway) -> list[DescribedRoute]:
    found = [route for route in gateway.app.routes if isinstance(route, Route)]
    assert all(isinstance(route, DescribedRoute) for route in found)
    return [route for route in found if isinstance(route, DescribedRoute)]


def address(route: DescribedRoute) -> str:
    """A path that the route serves."""
    path = route.path
    for name in route.param_convertors:
        path = path.replace(f"{{{name}:path}}", "x").replace(f"{{{name}}}", "1")
    return path


def test_without_a_key_no_route_answers(locked: RunningGateway) -> None:
    routes = [
        (method, address(route))
        for route in described(locked)
        for method in route.described_methods
    ]
    assert len(routes) > 40
    with locked.http() as http:
        for method, path in [*routes, ("GET", "/nothing"), ("PUT", CHAT), ("HEAD", "/")]:
            status = http.request(method, path).status_code
            assert status == (200 if path in OPEN else 401), (method, path)
    assert locked.told == []


def test_a_probe_without_a_key_learns_one_word(locked: RunningGateway) -> None:
    with locked.http() as http:
        assert http.get("/ready").json() == {"status": "ready", "missing": []}
        assert "processes" in http.get("/ready", headers=bearer(APP)).json()


@pytest.mark.parametrize("host", ["localhost/health?b=", "localhost#", "x/health?", "health"])
def test_the_host_header_opens_nothing(locked: RunningGateway, host: str) -> None:
    for path in ("/v1/models", "//v1/models", "/v1/models/", "/health/../v1/models"):
        assert status_of(locked.send(request("GET", path, host=host))) in (400, 401, 403)


@pytest.mark.parametrize(
    "path", ["http://localhost/v1/models", "/health/", "//health", "/v1/health", "/health/x"]
)
def test_only_the_open_paths_are_open_however_they_are_written(
    locked: RunningGateway, path: str
) -> None:
    body = locked.send(request("GET", path))
    assert status_of(body) == 401 or b'{"status":"ok"}' in body


@pytest.mark.parametrize(
    "headers",
    [
        bearer(APP),
        {"Authorization": f"bearer {APP}"},
        {"Authorization": APP},
        {"x-api-key": APP},
        {"api-key": APP},
    ],
)
def test_a_key_opens_whichever_way_it_is_sent(
    locked: RunningGateway, headers: dict[str, str]
) -> None:
    with locked.http() as http:
        assert http.get("/v1/models", headers=headers).status_code == 200
        assert http.post(CHAT, json=HELLO, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["", "x", APP[:-1], APP + "x", APP.upper(), digest(APP), "ü"],
    ids=["empty", "short", "cut", "longer", "other case", "its digest", "not ASCII"],
)
def test_a_wrong_key_opens_nothing(locked: RunningGateway, wrong: str) -> None:
    head = request("GET", "/v1/models", b"", f"Authorization: Bearer {wrong}")
    answer = locked.send(head)
    assert status_of(answer) == 401
    assert b"www-authenticate: Bearer" in answer
    assert not wrong or wrong.encode("latin-1") not in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(("path", "field"), [("/v1/messages", "type"), ("/api/chat", "error")])
def test_every_api_says_it_in_its_own_form(locked: RunningGateway, path: str, field: str) -> None:
    with locked.http() as http:
        answer = http.post(path, json=HELLO)
    assert (answer.status_code, field in answer.json()) == (401, True)


def test_a_long_body_without_a_key_is_thrown_away(locked: RunningGateway) -> None:
    with locked.http() as http:
        answer = http.post(CHAT, content=b"x" * 90_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_only_an_admin_key_opens_the_operators_routes(
    locked: RunningGateway, shared_scheduler: ScriptedScheduler
) -> None:
    """Although the client is on this machine: a proxy beside the service would be as well."""
    paths = [
        (method, address(route))
        for route in described(locked)
        for method in route.described_methods
        if route.operation.admin
    ]
    assert {path for _, path in paths} >= {
        "/openai/load/x", "/openai/unloadall", "/models/unload/x", "/openai/download",
        "/openai/register", "/api/pull", "/api/delete", "/shutdown",
    }  # fmt: skip
    with locked.http() as http:
        for method, path in paths:
            answer = http.request(method, path, headers=bearer(APP))
            assert answer.status_code == 403, (method, path)
        load = http.get(f"/openai/load/{MODEL}", headers=bearer(ADMIN))
        assert load.status_code == 200
    assert locked.told == []


def test_a_key_uses_only_its_models(locked: RunningGateway) -> None:
    with locked.http() as http:
        listed = http.get("/v1/models", headers=bearer(NARROW)).json()["data"]
        every = http.get("/v1/models", headers=bearer(APP)).json()["data"]
        assert (listed, [model["id"] for model in every]) == ([], [MODEL_ID])
        for _ in range(2):  # the second time after another key has found the model
            answer = http.post(CHAT, json=HELLO, headers=bearer(NARROW))
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "model_not_found"
            assert http.post(CHAT, json=HELLO, headers=bearer(APP)).status_code == 200
        assert http.get(f"/v1/models/{MODEL}", headers=bearer(NARROW)).status_code == 404


def test_too_many_requests_are_refused_with_the_time_to_wait(locked: RunningGateway) -> None:
    with locked.http() as http:
        assert http.post(CHAT, json=HELLO, headers=bearer(SLOW)).status_code == 200
        answer = http.post(CHAT, json=HELLO, headers=bearer(SLOW))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert http.get("/v1/models", headers=bearer(SLOW)).status_code == 200


def test_keys_of_the_file_come_and_go_while_the_service_runs(tmp_path: Path) -> None:
    now = 0.0
    file, key = KeyFile(tmp_path / "keys.json"), new_key()
    ring = KeyRing(file.path, (), lambda: now)
    assert ring.find(key) is None
    file.add(ApiKey("one", digest(key)))
    now += LOOK_SECONDS
    assert ring.find(key) is not None
    file.remove("one")
    now += LOOK_SECONDS
    assert ring.find(key) is None
    file.path.write_text("not a file of keys")
    now += LOOK_SECONDS
    assert ring.find(key) is None


def test_without_demanded_keys_any_key_will_do(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    """As Foundry Local's clients and OpenAI's expect on the same machine."""
    with gateway.http() as http:
        for headers in ({}, bearer("OPENAI_API_KEY"), {"x-api-key": "anything"}):
            assert http.post(CHAT, json=HELLO, headers=headers).status_code == 200
            assert http.get(f"/openai/load/{MODEL}", headers=headers).status_code == 200
    assert Home(gateway.config.home).api_keys.exists() is False


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_a_proxy_on_this_machine_is_no_operator(
    gateway: RunningGateway, scheduler: ScriptedScheduler, header: str
) -> None:
    answer = gateway.send(request("GET", f"/openai/load/{MODEL}", b"", f"{header}: 1.2.3.4"))
    assert status_of(answer) == 403
    assert scheduler.seen.empty()


@pytest.mark.slow
def test_a_probe_hears_of_a_missing_worker(tmp_path: Path) -> None:
    with ScriptedScheduler() as scheduler:
        scheduler.status = Status("first")
        with RunningGateway(scheduler.endpoint, tmp_path, keys_demanded=True) as gateway:
            assert status_of(gateway.send(request("GET", "/ready"))) == 503
            scheduler.status = Status("first", workers=(WORKER,))
            gateway.until(lambda: status_of(gateway.send(request("GET", "/ready"))) == 200)


def test_an_admin_key_is_one_also_where_no_key_is_demanded(
    shared_scheduler: ScriptedScheduler, home: Path
) -> None:
    load = request("GET", f"/openai/load/{MODEL}", b"", "Via: 1.1 proxy", f"x-api-key: {ADMIN}")
    with RunningGateway(shared_scheduler.endpoint, home, keys=KEYS) as gateway:
        while not shared_scheduler.seen.empty():
            shared_scheduler.seen.get()
        assert status_of(gateway.send(load)) == 200
        assert shared_scheduler.next(LoadModel).model.id == MODEL_ID
