"""Status documents of all generations, and the small routes."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import Status
from cupola.scheduler.protocol.status import WorkerStatus
from tests.foundry.conftest import ALIAS
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler
from tests.service.running_service import Service


def test_generation_a(shared: Service, http: httpx2.Client) -> None:
    status = http.get("/openai/status").json()
    folder = http.get("/foundry/cache").json()["location"]
    assert status == {
        "endpoint": shared.url,
        "endpoints": [shared.url],
        "modelDirPath": folder,
        "pipeName": None,
        "isAutoRegistrationResolved": True,
        "autoRegistrationStatus": "Valid EPs: CPUExecutionProvider",
    }
    assert http.get("/foundry/cache").json() == {"location": folder}


def test_generation_d(shared: Service, http: httpx2.Client) -> None:
    assert http.get("/status").json() == {
        "endpoints": [shared.url],
        "modelCachePath": http.get("/foundry/cache").json()["location"],
        "pid": shared.process.pid,
    }


def test_the_providers_are_tried(http: httpx2.Client) -> None:
    found = {each["name"]: each for each in http.get("/openai/providers").json()}
    cpu = found["CPUExecutionProvider"]
    assert (cpu["works"], cpu["problem"], cpu["workers"]) == (True, "", ["cpu:0/0"])


@pytest.mark.parametrize(
    ("workers", "gpu"),
    [
        ({"cpu:0/0": ExecutionProvider.CPU}, -1),
        ({"cuda:1/0": ExecutionProvider.CUDA}, 1),
        (
            {
                "cpu:0/0": ExecutionProvider.CPU,
                "cuda:3/0": ExecutionProvider.CUDA,
                "cuda:2/0": ExecutionProvider.CUDA,
            },
            2,
        ),
    ],
)
def test_the_gpu_device_is_that_of_the_workers(
    tmp_path: Path, workers: dict[str, ExecutionProvider], gpu: int
) -> None:
    with ScriptedScheduler() as scheduler:
        running = tuple(WorkerStatus(name, kind, pid=1) for name, kind in workers.items())
        scheduler.status = Status("first", workers=running)
        with RunningGateway(scheduler.endpoint, tmp_path) as gateway, gateway.http() as http:
            gateway.until(lambda: http.get("/ready").status_code == 200)
            assert http.get("/openai/getgpudevice").json() == gpu
            for device in range(4):
                answer = http.get(f"/openai/setgpudevice/{device}")
                if device == gpu:
                    assert (answer.status_code, answer.content) == (200, b"")
                else:
                    assert answer.status_code == 400
                    assert "'workers' setting" in answer.json()["error"]["message"]


@pytest.mark.parametrize("device", ["-1", "x", "1000000"])
def test_a_gpu_device_that_cannot_be(http: httpx2.Client, device: str) -> None:
    assert http.get(f"/openai/setgpudevice/{device}").status_code == 400


def test_tokens_of_a_chat_are_counted(http: httpx2.Client) -> None:
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "one two three"}]}
    answer = http.post("/v1/chat/completions/tokenizer/encode/count", json=body)
    assert answer.json() == {"tokenCount": http.post("/tokenize", json=body).json()["count"]}
    assert answer.json()["tokenCount"] > 0


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/openai/status"),
    ("POST", "/foundry/list"),
    ("GET", "/openai/download"),
    ("GET", "/openai/register"),
])  # fmt: skip
def test_wrong_methods(http: httpx2.Client, method: str, path: str) -> None:
    assert http.request(method, path).status_code == 405
