"""`foundry-local-sdk` 0.3 and 0.5 from the package index, unmodified, from a stopped service on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.home import Home
from tests.default_model import DEFAULT_MODEL
from tests.sdk.conftest import Machine
from tests.sdk.environments import python_with

pytestmark = pytest.mark.slow

ALIAS = "smollm2-135m"
MODEL = DEFAULT_MODEL.id
QUESTION = "five words for an echo"


def check(told: dict[str, Any], home: Home) -> None:
    """What holds whichever SDK has gone through its bootstrap."""
    assert told["running before"] is False
    assert told["endpoint"].startswith("http://127.0.0.1:")
    assert told["endpoint"].endswith("/v1")
    assert MODEL in told["catalog"]
    assert told["cached"] == [MODEL]
    assert told["loaded"] == [MODEL]
    assert told["location"] == str(home.models)
    assert (told["model"], told["by id"], told["unknown"]) == (MODEL, ALIAS, None)
    assert told["downloaded again"] == MODEL
    assert told.get("upgradeable", False) is False
    assert told["loaded after unload"] == [MODEL]  # the time to live of 600 s wins
    assert told["loaded after force"] == []


@pytest.mark.parametrize("version", ["0.3.1", "0.5.1"])
def test_from_a_stopped_service_to_a_chat(
    machine: Machine, place_fake: Callable[[Home], str], test_cache: Path, version: str
) -> None:
    python = python_with(test_cache, version, [f"foundry-local-sdk=={version}", "openai"])
    place_fake(machine.home)
    told = machine.program(python, "sdk_0.py", "foundry_local", ALIAS, QUESTION)
    check(told, machine.home)
    assert told["answer"].split()[:5] == QUESTION.split()
    assert told["streamed"] == told["answer"]


def test_the_model_is_downloaded_and_answers(machine: Machine, test_cache: Path) -> None:
    python = python_with(test_cache, "0.5.1", ["foundry-local-sdk==0.5.1", "openai"])
    real = machine.having(CUPOLA_BACKEND="onnx")
    question = "What is 2+2?"
    told = real.program(python, "sdk_0.py", "foundry_local", ALIAS, question)
    check(told, machine.home)
    assert "4" in told["answer"]
    assert told["streamed"] == told["answer"]
    assert list(machine.home.models.rglob("model.onnx"))


def test_importing_cupola_instead_is_all_that_changes(
    machine: Machine, place_fake: Callable[[Home], str]
) -> None:

    place_fake(machine.home)
    told = machine.program(sys.executable, "sdk_0.py", "cupola.client", ALIAS, QUESTION)
    check(told, machine.home)
    assert told["answer"].split()[:5] == QUESTION.split()
