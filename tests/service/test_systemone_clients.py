"""Public clients of System One, as they are published, with the real model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.environments import node_with, python_with
from tests.service.clients import SYSTEM_ONE, SYSTEM_ONE_NPM
from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "programs"


def run(*command: str) -> dict[str, Any]:
    """The JSON that a program prints."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(told, dict)
    return told


def test_clients_in_python(service: Service, test_cache: Path) -> None:
    python = python_with(test_cache, "systemone", ["--no-compile", *SYSTEM_ONE])
    told = run(str(python), str(PROGRAMS / "systemone_app.py"), service.url, MODEL)
    assert told["model"].startswith(MODEL)
    assert told["tokens"] > 50
    assert 0 < told["late"] < 1 and 0 < told["deqio"] < 1
    assert set(told["about"]) == {"delivery", "price", "weather"}
    assert sum(told["about"].values()) == pytest.approx(1)
    score, legend = told["anger"]
    assert 0 < score < 1 and legend == {"0": "calm", "1": "angry"}
    status, message = told["refused"]
    assert status == 400 and "instructions" in message
    assert sorted(index for index, _ in told["ranked"]) == [0, 1]


def test_the_client_in_javascript(service: Service, test_cache: Path) -> None:
    folder = node_with(test_cache, "systemone", SYSTEM_ONE_NPM)
    program = PROGRAMS / "systemone.mjs"
    told = run("node", str(program), str(folder), service.url, MODEL)
    answers = told["answers"]
    assert set(answers) == {"late", "untold", "about", "anger"}
    assert 0 < answers["late"]["noul"] < 1 and 0 < answers["untold"]["noul"] < 1
    assert answers["about"]["choice"] in ("delivery", "price")
    assert answers["anger"]["legend"] == {"0": "calm", "1": "angry"}
