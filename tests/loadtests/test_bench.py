"""The command ``cupola bench`` as a process, against scripted servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cupola.client.commands.main import build
from cupola.client.errors import ClientError
from tests.imports import ROOT
from tests.loadtests.scripted_server import ScriptedServer, good, without_usage

PATIENCE = 120
NOBODY = "http://127.0.0.1:9"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(tmp_path: Path) -> Run:
    """Runs the command; its results go to ``tmp_path``."""

    def run(*arguments: str, home: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cupola.client.commands.main", "bench"]
        return subprocess.run(
            [*command, *arguments, "--out", str(tmp_path), "--warm-up", "0"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "CUPOLA_HOME": str(tmp_path / "home")},
        )

    return run


def requests(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def test_two_servers_take_turns(bench: Run, tmp_path: Path) -> None:
    with ScriptedServer() as one, ScriptedServer(without_usage) as other:
        done = bench(
            "--url", one.url, "--model", "m", "--against", f"{other.url}=other",
            "--clients", "2", "--rounds", "2", "--output", "json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "bench.json").read_text())
    drawn = ElementTree.fromstring((tmp_path / "bench.svg").read_text())
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == 2
    assert [(t["name"], t["model"]) for t in result["targets"]] == [
        (one.url, "m"), ("other", "tiny")
    ]  # fmt: skip
    assert [(r["target"], r["level"]["clients"]) for r in result["rows"]] == [
        (one.url, 2), ("other", 2)
    ]  # fmt: skip
    assert [len(row["figures"]["tokens_s"]["rounds"]) for row in result["rows"]] == [2, 2]
    first, second = (row["ratio"] for row in result["rows"])
    assert first is None and second["low"] <= second["value"] <= second["high"]
    questions = [
        sorted(json.dumps(body | {"model": ""}) for body in server.bodies[1:])
        for server in (one, other)
    ]
    assert questions[0] == questions[1]
    assert len(questions[0]) == 2 * 2 * 2  # rounds x clients x requests
    assert all(body["ignore_eos"] for body in one.bodies)
    turns = [(each["round"], each["target"]) for each in requests(tmp_path)]
    assert list(dict.fromkeys(turns)) == [
        (1, one.url), (1, "other"), (2, "other"), (2, one.url)
    ]  # fmt: skip
    assert "came without usage" in (tmp_path / "bench.md").read_text()


def test_a_workload_of_locust_goes_through_all_its_turns(bench: Run) -> None:
    with ScriptedServer() as server:
        done = bench(
            "--url", server.url, "--workload", "agent", "--clients", "1",
            "--rounds", "1", "--requests", "1",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [len(body["messages"]) for body in server.bodies[-4:]] == [2, 4, 6, 8]


def test_arrivals_at_random_are_counted_from_their_intended_start(
    bench: Run, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        done = bench("--url", server.url, "--rates", "20", "--seconds", "1", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    found = requests(tmp_path)
    assert len(found) == len(server.bodies) - 1 > 5
    assert all(0 <= each["waited"] <= each["ttft"] <= each["e2e"] for each in found)
    assert "20 requests/s" in done.stdout


def test_a_server_that_dies_half_way_keeps_the_rounds_before(bench: Run, tmp_path: Path) -> None:
    with ScriptedServer() as other, ScriptedServer(good, dies_after=5) as server:
        done = bench(
            "--url", other.url, "--against", f"{server.url}=mortal",
            "--clients", "1", "--rounds", "4",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, mortal = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert len(whole["figures"]["tokens_s"]["rounds"]) == 4
    assert 1 <= len(mortal["figures"]["tokens_s"]["rounds"]) < 4
    assert mortal["figures"]["tokens_s"]["median"] > 0
    assert "mortal" in done.stdout and "What it did before is kept" in done.stdout
    assert {each["end"] for each in requests(tmp_path)} == {"ok", "error"}


def test_a_run_whose_only_server_dies_fails_and_leaves_what_it_had(
    bench: Run, tmp_path: Path
) -> None:
    with ScriptedServer(good, dies_after=3) as server:
        done = bench("--url", server.url, "--clients", "1", "--rounds", "9")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", NOBODY], "cannot be reached"),
        (["--url", "http://10.0.0.1"], "not on this machine"),
        (["--url", "http://127.0.0.1:99999"], "Port out of range"),
        (["--url", "http://127.0.0.1:abc"], "Port could not be cast"),
        ([], "No service is running"),
        (["--url", NOBODY, "--clients", "0"], "--clients: 0 is not from 1"),
        (["--url", NOBODY, "--clients", "1,x"], "--clients: 'x' is no whole number"),
        (["--url", NOBODY, "--rates", "x"], "--rates: 'x' is no number"),
        (["--url", NOBODY, "--workload", "poem"], "no workload 'poem'"),
        (["--url", NOBODY, "--objective", "fast"], "'fast' is no objective"),
        (["--url", NOBODY, "--compare", str(ROOT / "pyproject.toml")], "no result of"),
        (["--url", NOBODY, "--peers", "foundry"], "CUPOLA_PEERS"),
        (["--url", NOBODY, "--against", NOBODY], "Two targets are called"),
        (["--url", NOBODY, "--copy", "--workload", "chat"], "for 'story' only"),
        (["--url", NOBODY, "--max-tokens", "64", "--workload", "chat"], "--max-tokens is for"),
    ],
)
def test_bad_input_is_told_in_a_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CUPOLA_PEERS", raising=False)
    done = CliRunner().invoke(build(), ["bench", *arguments, "--out", str(tmp_path)])
    assert isinstance(done.exception, ClientError) and message in str(done.exception)


@pytest.mark.parametrize("command", ["tune", "simulate"])
def test_a_limit_that_a_workload_does_not_heed_is_refused(command: str) -> None:
    arguments = [command, "--workload", "long prompt", "--max-tokens", "5"]
    done = CliRunner().invoke(build(), arguments)
    assert isinstance(done.exception, ClientError)
    assert "'long prompt' says itself" in str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--seconds", "nan"],
        ["tune", "--minutes", "nan"],
        ["top", "--seconds", "nan"],
        *(["simulate", name, "nan"] for name in ("--itl-ms", "--queue-timeout", "--for-ttft")),
    ],
)
def test_nan_is_not_a_number_of_an_option(arguments: list[str]) -> None:
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 2 and "nan is not a finite number" in done.stderr


def test_a_run_that_does_not_begin_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
    assert CliRunner().invoke(build(), ["bench", "--url", NOBODY]).exit_code == 1
    assert list(tmp_path.glob("measurements/*")) == []


def test_a_server_that_refuses_is_told(bench: Run) -> None:
    with ScriptedServer(status=404) as server:
        done = bench("--url", server.url)
    assert done.returncode == 1 and "status 404: not today" in done.stderr
    assert "Traceback" not in done.stderr
