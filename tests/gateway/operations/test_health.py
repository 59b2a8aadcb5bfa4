"""/health, /ready, /status, /shutdown and the front page."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from cupola.scheduler.protocol.messages import Status
from tests.gateway.running_gateway import (
    MODEL_ID,
    WAIT,
    RunningGateway,
    error_of,
    read_all,
    request,
    status_of,
)
from tests.gateway.scripted_scheduler import WORKER, ScriptedScheduler

Ready = tuple[int, list[str]]


def ready(gateway: RunningGateway) -> Ready:
    """What /ready says."""
    with gateway.http() as http:
        answer = http.get("/ready")
        return answer.status_code, answer.json()["missing"]


def test_alive(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        answer = http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready(gateway: RunningGateway) -> None:
    assert ready(gateway) == (200, [])


def test_ready_names_the_missing_worker(home: Path) -> None:
    with ScriptedScheduler() as scheduler:
        scheduler.status = Status("first", missing=("cpu:0/0",))
        with RunningGateway(scheduler.endpoint, home) as gateway:
            assert ready(gateway) == (503, ["worker cpu:0/0"])


def test_one_of_two_workers_is_enough(home: Path) -> None:
    with ScriptedScheduler() as scheduler:
        scheduler.status = Status("first", workers=(WORKER,), missing=("cpu:0/1",))
        with RunningGateway(scheduler.endpoint, home) as gateway:
            assert ready(gateway) == (200, ["worker cpu:0/1"])


def test_ready_tells_which_models_are_not_loaded_and_why(home: Path) -> None:
    with ScriptedScheduler() as scheduler:
        scheduler.status = Status("first", workers=(WORKER,), refused={"m:1": "it is broken"})
        with RunningGateway(scheduler.endpoint, home) as gateway, gateway.http() as http:
            assert http.get("/ready").json()["refused"] == {"m:1": "it is broken"}


@pytest.mark.slow  # as long as the scheduler may take
def test_not_ready_without_a_scheduler(home: Path) -> None:
    with ScriptedScheduler() as scheduler:
        scheduler.status = None
        with RunningGateway(scheduler.endpoint, home) as gateway, gateway.http() as http:
            answer = http.get("/ready")
    assert (answer.status_code, answer.json()["missing"]) == (
        503,
        ["the scheduler does not answer"],
    )


def test_what_is_told_is_never_old(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    """What the scheduler says now, and not what it said at the last of its regular statuses."""
    with gateway.http() as http:
        for count in range(20):
            worker = msgspec.structs.replace(WORKER, running=count)
            scheduler.status = Status("first", queued=2 * count, workers=(worker,))
            told = http.get("/ready").json()
            assert (told["running"], told["queued"]) == (count, 2 * count)
            assert f'requests_running{{worker="cpu:0/0"}} {count}.0\n' in http.get("/metrics").text
            scheduler.status = Status("first", missing=("cpu:0/0",))
            assert http.get("/ready").status_code == 503


def queued(gateway: RunningGateway) -> int:
    """What the gateway has heard."""
    status = gateway.client.status
    return status.queued if status else 0


def test_a_status_that_was_not_asked_for_answers_no_question(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    gateway.until(lambda: gateway.client.status is not None)
    scheduler.status = None
    with ThreadPoolExecutor() as threads, gateway.http() as http:
        answer = threads.submit(http.get, "/ready")
        scheduler.send(Status("first", queued=9, workers=(WORKER,)))
        gateway.until(lambda: queued(gateway) == 9)
        scheduler.status = Status("first", workers=(WORKER,))  # for the next regular query
        assert answer.result(WAIT).json()["queued"] == 0


def test_foundry_status(gateway: RunningGateway, home: Path) -> None:
    with gateway.http() as http:
        assert http.get("/status").json() == {
            "endpoints": [gateway.url],
            "modelCachePath": str(home / "cache" / "models"),
            "pid": os.getpid(),
        }


def test_shutdown_answers_and_tells_the_supervisor(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        answer = http.post("/shutdown")
        assert (answer.status_code, answer.json()) == (200, {"status": "shutting_down"})
    gateway.until(lambda: gateway.told == ["shutdown"])  # told once the answer is on its way


@pytest.mark.parametrize("header", ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1"])
def test_shutdown_is_not_for_others(gateway: RunningGateway, header: str) -> None:
    with gateway.connect() as connection:
        connection.sendall(request("POST", "/shutdown", b"", header))
        answer = read_all(connection)
    assert (status_of(answer), error_of(answer)["code"]) == (403, "forbidden")
    assert gateway.told == []


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attributes if name in ("href", "src") and value]


def test_front_page(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        page = http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert MODEL_ID in page.text and f"{gateway.url}/v1" in page.text
        links = Links()
        links.feed(page.text)
        assert links.targets
        for target in links.targets:
            assert target.startswith("/")  # nothing from elsewhere
            assert http.get(target).status_code == 200
        head = http.head("/")
    assert (head.status_code, head.content) == (200, b"")


def test_front_page_without_models(scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    model = "<script>alert(1)</script>"
    with (
        RunningGateway(scheduler.endpoint, tmp_path, model=model) as gateway,
        gateway.http() as http,
    ):
        page = http.get("/").text
    assert "cupola model download" in page and "<script>" not in page
