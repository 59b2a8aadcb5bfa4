"""The benchmark as a process, against scripted servers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.imports import ROOT
from tests.loadtests.scripted_server import ScriptedServer, good, without_usage

PATIENCE = 120
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench() -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "loadtests" / "bench.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


def test_two_servers_take_turns(bench: Run) -> None:
    with ScriptedServer() as one, ScriptedServer(without_usage) as other:
        done = bench(
            "--url", one.url, "--url", other.url, "--model", "m", "--model", "n",
            "--clients", "2", "--rounds", "2", "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["url"], row["model"], row["clients"], row["errors"]) for row in rows] == [
        (one.url, "m", 2, 0), (other.url, "n", 2, 0)
    ]  # fmt: skip
    questions = [
        sorted(json.dumps(body | {"model": ""}) for body in server.bodies)
        for server in (one, other)
    ]
    assert questions[0] == questions[1]
    assert len(one.bodies) == 2 + 2 * 2 * 2  # the first, and rounds x clients x requests
    assert all(body["ignore_eos"] for body in one.bodies)


def test_a_workload_of_locust_goes_through_all_its_turns(bench: Run) -> None:
    with ScriptedServer() as server:
        done = bench(
            "--url", server.url, "--workload", "agent", "--clients", "1",
            "--rounds", "1", "--requests", "1",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [len(body["messages"]) for body in server.bodies[-4:]] == [2, 4, 6, 8]


def test_a_server_that_dies_half_way_keeps_the_rounds_before(bench: Run) -> None:
    with ScriptedServer(good, dies_after=5) as server:
        done = bench("--url", server.url, "--clients", "1", "--rounds", "4", "--json")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["tokens_s"] > 0 and row["errors"] > 0
    assert "did not answer" in done.stderr


@pytest.mark.parametrize(
    ("url", "message"),
    [("http://127.0.0.1:9", "did not answer"), ("http://10.0.0.1", "not on this machine")],
)
def test_bad_input_is_told_in_a_line(bench: Run, url: str, message: str) -> None:
    done = bench("--url", url)
    assert done.returncode != 0
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_refuses_is_told(bench: Run) -> None:
    with ScriptedServer(status=404) as server:
        done = bench("--url", server.url)
    assert done.returncode != 0 and "status 404" in done.stderr
