"""The measuring commands with the real model: a service, its engine, a calibration, a search."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.client.commands.main import build
from cupola.loadtests.bench.engine_target import EngineTarget
from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount, Broken
from cupola.loadtests.host.own_service import OwnService
from cupola.loadtests.load.results import End
from cupola.loadtests.load.workloads import WORKLOADS, story
from cupola.loadtests.simulate import calibration
from cupola.loadtests.simulate.cost_model import CostModel
from cupola.service.settings.settings import Settings
from cupola.service.settings.worker_options import only_worker
from tests.service.running_service import LEAN

pytestmark = pytest.mark.slow

PATIENCE = 120


def cupola(*arguments: str) -> str:
    """The standard output of a command that succeeds."""
    done = CliRunner().invoke(build(), [*arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_a_service_and_its_engine_are_measured_and_simulated(
    real_model: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPOLA_HOME", str(real_model.root))
    monkeypatch.setattr(calibration, "CLIENTS", (1, 2))
    monkeypatch.setattr(calibration, "PROMPT_WORDS", (5, 100))
    monkeypatch.setattr(calibration, "ANSWER_TOKENS", 12)
    monkeypatch.setattr(calibration, "ALONE_SECONDS", 1.0)
    monkeypatch.setattr(calibration, "TOGETHER", (2, 4))
    monkeypatch.setattr(calibration, "MIXED_WORDS", (0, 30))
    monkeypatch.setattr(calibration, "MIXED_CLIENTS", (4,))
    with OwnService(real_model.root, tmp_path, LEAN) as service:
        service.wait_until_ready(PATIENCE)
        short = ("--rounds", "1", "--warm-up", "0", "--max-tokens", "8", "--url", service.url)
        cupola("bench", *short, "--engine", "--clients", "2", "--out", str(tmp_path))
        monkeypatch.setenv("CUPOLA_HOME", str(tmp_path / "home"))
        told = cupola("simulate", "--calibrate", "--url", service.url, "--out", str(tmp_path))
    assert "The costs of this machine" in told and "one of a hundred" in told
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [row["target"] for row in rows] == [service.url, "engine"]
    assert all(row["figures"]["ok"]["median"] == 4 for row in rows)
    assert all(row["figures"]["error"]["median"] == 0 for row in rows)
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert {json.loads(line)["tokens"] for line in lines} == {8}
    made = tmp_path / "home" / "measurements" / "costs.json"
    costs = CostModel.load(made)
    assert costs.tokens(16) > 0 and costs.spread.steps and costs.spread.waits
    told = cupola("simulate", "--rates", "0.5,1", "--requests", "50", "--out", str(tmp_path))
    assert told.count("requests/s") == 3 and (tmp_path / "simulation.html").exists()
    told = cupola("simulate", "--validate", str(tmp_path))
    assert "2 clients" in told


def test_the_engine_answers_arrivals_at_random(real_model: Home) -> None:
    settings = Settings(home=real_model.root)
    folder = ModelCache(real_model).find(settings.model).path
    target = EngineTarget(folder, only_worker(settings))
    target.check(story(4))
    turn = target.run(story(4), Level(rate=50), Amount(seconds=0.1), 1, lambda _: None)
    assert turn.records
    for record in turn.records:
        assert record.end is End.OK and record.tokens == 4
        assert 0 <= record.waited <= (record.ttft or 0) <= record.e2e
    with pytest.raises(Broken, match="without tools"):
        target.check(WORKLOADS["agent"])


def test_a_search_starts_services_and_says_what_to_take(
    real_model: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPOLA_HOME", str(real_model.root))
    told = cupola(
        "tune", "--minutes", "0.2", "--clients", "2", "--max-tokens", "4", "--out", str(tmp_path)
    )
    assert "for throughput of 2 clients, workload 'story'" in told
    fragment = tomllib.loads((tmp_path / "cupola.toml").read_text())
    assert Settings(**fragment).model == fragment["model"]
    assert (tmp_path / "frontier.svg").read_text().startswith("<svg")
    assert "slots 'auto'" in (tmp_path / "trials.md").read_text()
