"""GET /admin/state: what the scheduler knows, for operators only."""

from __future__ import annotations

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import Status
from cupola.scheduler.protocol.status import Serving, Totals, WorkerStatus
from tests.gateway.running_gateway import RunningGateway, request, status_of
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

WORKER = WorkerStatus(
    "cpu:0/0",
    ExecutionProvider.CPU,
    7,
    2,
    4096,
    ("m:1",),
    {"m:1": Serving("batching", kv_usage=0.5, expires_in=10.0)},
    slots=16,
    loading=("n:1",),
)


def test_the_state(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.status = Status(
        "first", queued=3, workers=(WORKER,), missing=("cpu:0/1",), totals=Totals(answered=5)
    )
    with gateway.http() as http:
        state = http.get("/admin/state").json()
    assert (state["queued"], state["missing"]) == (3, ["cpu:0/1"])
    assert state["totals"] == {"answered": 5}
    assert state["workers"] == [
        {
            "name": "cpu:0/0",
            "provider": "CPUExecutionProvider",
            "pid": 7,
            "running": 2,
            "slots": 16,
            "memory_bytes": 4096,
            "loading": ["n:1"],
            "leaving": False,
            "models": [{"id": "m:1", "engine": "batching", "kv_usage": 0.5, "expires_in": 10.0}],
        }
    ]


def test_it_is_not_for_those_behind_a_proxy(gateway: RunningGateway) -> None:
    answer = gateway.send(request("GET", "/admin/state", b"", "X-Forwarded-For: 1.2.3.4"))
    assert status_of(answer) == 403
