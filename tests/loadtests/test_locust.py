"""Runs of locust, as a process: what is sent, and what is left afterwards."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from tests.imports import ROOT
from tests.loadtests.scripted_server import ScriptedServer, good, without_usage
from tests.service.running_service import MODEL

pytestmark = pytest.mark.slow

PATIENCE = 120
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def locust(tmp_path: Path) -> Run:
    """Runs locust; its files go to ``tmp_path``."""

    def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        scenarios = ROOT / "loadtests" / "users" / "locustfile.py"
        command = [sys.executable, "-m", "locust", "-f", str(scenarios)]
        files = ["--csv", "locust", "--html", "report.html", "--requests-file", "requests.jsonl"]
        files += ["--report", "plots.html"]
        quiet = ["--headless", "--only-summary", "--host", url]
        return subprocess.run(
            [*command, *quiet, *files, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "requests.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_scenario_runs_and_shows_in_locusts_own_files(locust: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        # A user of each class, and the flood's weight.
        done = locust(server.url, "-u", "14", "-r", "14", "-t", "6s", "--stop-timeout", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    found = records(tmp_path)
    names = {each["name"] for each in found}
    management = {name for name in names if name.startswith("/")}
    assert management and names - management == {
        "chat", "long prompt", "shared prompt", "agent", "structured", "embeddings",
        "steady tenant", "flood tenant", "aborting", "slow reader",
    }  # fmt: skip
    ends = Counter(each["end"] for each in found)
    assert ends["ok"] >= 10 and ends["aborted"] > 0 and ends["error"] == 0
    with (tmp_path / "locust_stats.csv").open(encoding="utf-8") as file:
        rows = {row["Type"] for row in csv.DictReader(file) if row["Name"] == "chat"}
        file.seek(0)
        left = {row["Type"] for row in csv.DictReader(file) if row["Name"] == "aborting"}
    assert rows == {"E2E", "TTFT", "ITL", "TPOT", "tokens/s"}
    assert left - {"E2E", "TTFT", "ITL", "TPOT", "tokens/s"} == {"abort"}
    assert "TTFT" in (tmp_path / "report.html").read_text("utf-8")
    table = done.stdout.splitlines()
    assert any(line.startswith("all ") for line in table)
    # Models were chosen by their names, keys by their scenarios.
    assert {body["model"] for body in server.bodies if "input" in body} == {"all-minilm"}
    assert {body["model"] for body in server.bodies if "messages" in body} == {"tiny"}
    assert server.keys == {None, "Bearer steady", "Bearer flood"}


def test_poisson_arrivals_and_a_shape_of_the_load(locust: Run, tmp_path: Path) -> None:
    arrivals = ["--arrivals", "poisson", "--rate", "20", "--shape", "steps"]
    with ScriptedServer() as server:
        done = locust(server.url, "-u", "4", "-t", "4s", *arrivals, "Chat")
    assert done.returncode == 0, done.stdout + done.stderr
    found = records(tmp_path)
    assert {each["end"] for each in found} <= {"ok", "incomplete"}
    assert all(each["waited"] >= 0 for each in found)
    assert "updating to 1 users" in done.stderr and "updating to 4 users" in done.stderr
    assert len(found) > 3


def test_poisson_arrivals_do_not_wait_for_answers(locust: Run, tmp_path: Path) -> None:
    """One user, and a server that answers nobody before five have asked."""
    asked = threading.Semaphore(0)
    five = threading.Barrier(5, action=lambda: asked.release(1000))

    def held(body: dict[str, Any]) -> list[str]:
        if not asked.acquire(blocking=False):
            five.wait(PATIENCE)
        return good(body)

    arrivals = ["--arrivals", "poisson", "--rate", "20"]
    with ScriptedServer(held) as server:
        locust(server.url, "-u", "1", "-t", "4s", "--stop-timeout", "5", *arrivals, "Chat")
        five.abort()  # a closed loop would have left one request there
    assert sum(each["end"] == "ok" for each in records(tmp_path)) >= 5


def test_an_own_service_answers_every_scenario_that_needs_no_model(
    locust: Run, real_model: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ModelCache(real_model).find(MODEL).path
    home = tmp_path / "home"
    shutil.copytree(folder, Home(home).models / folder.relative_to(real_model.models))
    scenarios = [
        "Chat", "LongPrompt", "SharedPrompt", "Agent", "SteadyTenant", "FloodTenant", "Aborting",
        "FoundryManagement",
    ]  # fmt: skip
    monkeypatch.setenv("CUPOLA_BACKEND", "echo")
    own = ["--own-service", str(home)]
    nobody = "http://127.0.0.1:9"
    done = locust(
        nobody, *own, "-u", "11", "-r", "11", "-t", "5s", "--stop-timeout", "9", *scenarios
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = records(tmp_path)
    assert {"chat", "agent", "aborting", "/foundry/list"} <= {each["name"] for each in found}
    assert [each for each in found if each["end"] == "error"] == []
    assert all(each["counted"] for each in found if each["end"] == "ok" and each["tokens"])


def test_a_server_that_dies_half_way_leaves_its_results(locust: Run, tmp_path: Path) -> None:
    with ScriptedServer(good, dies_after=10) as server:
        done = locust(server.url, "-u", "2", "-r", "2", "-t", "60s", "--give-up", "1", "Chat")
    assert done.returncode == 1
    assert "The run ends early." in done.stderr and "cannot be reached" in done.stderr
    assert sum(each["end"] == "ok" for each in records(tmp_path)) == 10
    assert "x the connection broke" in done.stdout  # below the table
    assert (tmp_path / "report.html").exists()


def test_every_scenario_outlives_its_server_and_streams_without_usage(
    locust: Run, tmp_path: Path
) -> None:
    """All scenarios, on a server that counts no tokens and dies after some answers."""
    with ScriptedServer(without_usage, dies_after=120) as server:
        done = locust(server.url, "-u", "14", "-r", "14", "-t", "60s", "--give-up", "1")
    assert done.returncode == 1
    assert "The run ends early." in done.stderr and "cannot be reached" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "answers came without usage" in done.stdout
    found = records(tmp_path)
    assert len({each["name"] for each in found if each["end"] == "ok"}) > 7
    assert any(each["end"] == "error" and "broke" in each["error"] for each in found)
    for file in ("report.html", "plots.html"):
        assert (tmp_path / file).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="locust forks its processes")
def test_several_processes_make_one_report(locust: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        done = locust(server.url, "-u", "4", "-r", "4", "-t", "4s", "--processes", "2", "Chat")
    assert done.returncode == 0, done.stdout + done.stderr
    found = records(tmp_path)
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("chat ")]
    assert int(row[1]) == sum(each["end"] == "ok" for each in found) > 0
    # Each process asks its own things.
    asked = [json.dumps(body["messages"]) for body in server.bodies]
    assert len(set(asked)) == len(asked)


def test_a_model_is_named_or_found(locust: Run) -> None:
    with ScriptedServer() as server:
        done = locust(
            server.url, "-u", "2", "-r", "2", "-t", "3s", "--model", "mine", "Chat", "Embeddings"
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {body["model"] for body in server.bodies} == {"mine", "all-minilm"}


def test_an_address_as_an_sdk_wants_it_will_do(locust: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        url = server.url.removeprefix("http://") + "/v1"
        done = locust(url, "-u", "1", "-t", "2s", "Chat")
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.bodies
    page = (tmp_path / "plots.html").read_text("utf-8")
    assert "Scenarios: Chat. Users: up to 1, shape steady" in page


@pytest.mark.parametrize(
    ("url", "arguments", "message"),
    [
        ("http://127.0.0.1:9", [], "cannot be reached"),
        ("http://10.0.0.1:9", [], "not on this machine"),
        ("http://127.0.0.1:9", ["--rate", "0"], "--rate must be above 0"),
    ],
)
def test_bad_input_is_told_in_a_line(
    locust: Run, url: str, arguments: list[str], message: str
) -> None:
    done = locust(url, "-t", "5s", *arguments, "Chat")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_run_without_a_request_fails(locust: Run) -> None:
    with ScriptedServer() as server:
        done = locust(server.url, "-u", "0", "-t", "1s", "Chat")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No request was made" in done.stdout
