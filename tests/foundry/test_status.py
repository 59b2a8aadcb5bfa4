"""Status documents of all generations, and the small routes."""

from __future__ import annotations

import httpx2
import pytest

from tests.foundry.conftest import ALIAS
from tests.service.running_service import Service


def test_generation_a(shared: Service, http: httpx2.Client) -> None:
    status = http.get("/openai/status").json()
    folder = http.get("/foundry/cache").json()["location"]
    assert status == {
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


def test_the_gpu_device_is_a_number_that_can_be_set(http: httpx2.Client) -> None:
    answer = http.get("/openai/setgpudevice/1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert http.get("/openai/getgpudevice").content == b"1"
    http.get("/openai/setgpudevice/0")
    assert http.get("/openai/getgpudevice").json() == 0


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
