"""/admin/workers: what operators see of the workers, and what the supervisor is told."""

from __future__ import annotations

import httpx2
import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import Status
from cupola.scheduler.protocol.pool import (
    AddWorker,
    Change,
    Then,
    WorkerLeaves,
    change_of,
)
from cupola.scheduler.protocol.status import WorkerStatus
from tests.gateway.running_gateway import RunningGateway, request, status_of
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

CPU = ExecutionProvider.CPU
WORKERS = (
    WorkerStatus("cpu:0/0", CPU, 7, 2, 4096, ("m:1",), slots=16),
    WorkerStatus("cpu:0/2", CPU, 8, 1, slots=16, leaving=True),
)
STATUS = Status("first", workers=WORKERS, missing=("cpu:0/10",), stopped=("cpu:0/3",))


@pytest.fixture
def http(gateway: RunningGateway, scheduler: ScriptedScheduler) -> httpx2.Client:
    scheduler.status = STATUS
    return gateway.http()


def told(gateway: RunningGateway) -> list[Change]:
    return [change_of(line.partition(" ")[2]) for line in gateway.told if "workers" in line]


def test_the_list(http: httpx2.Client) -> None:
    with http:
        workers = http.get("/admin/workers").json()["workers"]
    assert [(each["name"], each["state"], each["pid"]) for each in workers] == [
        ("cpu:0/0", "serving", 7),
        ("cpu:0/2", "leaving", 8),
        ("cpu:0/3", "stopped", 0),
        ("cpu:0/10", "starting", 0),
    ]
    assert workers[0] | {"models": ["m:1"], "running": 2, "slots": 16} == workers[0]


def test_further_workers(http: httpx2.Client, gateway: RunningGateway) -> None:
    with http:
        two = http.post("/admin/workers", json={"count": 2, "threads": 1})
        one = http.post("/admin/workers", json={"device": "cpu"})
    assert two.json() == {"names": ["cpu:0/1", "cpu:0/4"]}
    assert one.json() == {"names": ["cpu:0/1"]}
    assert told(gateway) == [AddWorker("cpu:0", 1), AddWorker("cpu:0", 1), AddWorker("cpu:0")]


@pytest.mark.parametrize("then", Then)
def test_a_worker_leaves(http: httpx2.Client, gateway: RunningGateway, then: Then) -> None:
    with http:
        answer = http.post(f"/admin/workers/{then}", json={"name": "cpu:0/0", "now": True})
    assert answer.json() == {"names": ["cpu:0/0"]}
    assert told(gateway) == [WorkerLeaves("cpu:0/0", then, now=True)]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("", {"device": "cuda:0"}, 404, "worker_not_found"),
        ("", {"count": 62}, 400, "too_many_workers"),
        ("", {"count": 0}, 400, "invalid_value"),
        ("/drain", {"name": "cpu:0/9"}, 404, "worker_not_found"),
        ("/drain", {}, 400, "missing_required_parameter"),
    ],
)
def test_what_cannot_be_done(
    http: httpx2.Client,
    gateway: RunningGateway,
    path: str,
    body: dict[str, object],
    status: int,
    code: str,
) -> None:
    with http:
        answer = http.post(f"/admin/workers{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert told(gateway) == []


@pytest.mark.parametrize(("then", "status"), [("drain", 409), ("remove", 409), ("restart", 200)])
def test_the_last_worker_stays(
    http: httpx2.Client, scheduler: ScriptedScheduler, then: str, status: int
) -> None:
    scheduler.status = Status("first", workers=WORKERS)
    with http:
        assert http.post(f"/admin/workers/{then}", json={"name": "cpu:0/0"}).status_code == status


def test_it_is_not_for_those_behind_a_proxy(gateway: RunningGateway) -> None:
    for method, path in (("GET", "/admin/workers"), ("POST", "/admin/workers/drain")):
        answer = gateway.send(request(method, path, b"", "X-Forwarded-For: 1.2.3.4"))
        assert status_of(answer) == 403
