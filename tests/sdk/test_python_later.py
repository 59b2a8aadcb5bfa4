"""`foundry-local-sdk` 1.x and 2.x from the package index, unmodified, with an external service.

Version 1 loads and unloads over HTTP. Version 2 takes the URL and never uses it (seen in 2.2.1): it
runs the model in its own process, out of the folder that Cupola made.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from tests.default_model import DEFAULT_MODEL as MODEL
from tests.sdk.conftest import Machine
from tests.sdk.environments import python_with

QUESTION = "What is 2+2?"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names Linux's native libraries")


def started(machine: Machine) -> str:
    """The URL of the service, which has written the file that stands in for Microsoft's catalog."""
    return str(json.loads(machine.foundry("server", "start", "-o", "json"))["webUrls"][0])


def test_version_1_loads_and_unloads_in_the_service(
    machine: Machine, place_fake: Callable[[Home], str], test_cache: Path, tmp_path: Path
) -> None:
    # Its own requirements are of 900 MB, for CUDA; these are the same libraries for the CPU.
    python = python_with(
        test_cache,
        "1.2.4",
        ["openai", "requests", "onnxruntime==1.26.0", "onnxruntime-genai==0.14.1"],
        ["--no-deps", "foundry-local-sdk==1.2.4", "foundry-local-core==1.2.4"],
    )
    place_fake(machine.home)
    url, models, data = started(machine), str(machine.home.models), str(tmp_path / "data")
    told = machine.program(
        python, "sdk_later.py", url, models, data, MODEL.alias, "five words for an echo"
    )
    assert (told["catalog"], told["model"], told["cached"]) == ([MODEL.id], MODEL.id, True)
    assert (told["loaded before"], told["loaded"], told["loaded after"]) == (False, True, False)
    assert told["loaded in catalog"] == told["loaded in service"] == [MODEL.id]
    assert told["in service after"] == []
    assert told["answer"].startswith("five words for an echo")


def test_version_2_runs_what_cupola_has_made(
    machine: Machine, real_model: Home, test_cache: Path, tmp_path: Path
) -> None:
    python = python_with(test_cache, "2.2.1", ["foundry-local-sdk==2.2.1", "openai"])
    folder = ModelCache(real_model).find(MODEL.id).path
    place = machine.home.models / folder.relative_to(real_model.models)
    place.parent.mkdir(parents=True)
    shutil.copytree(folder, place)
    real = machine.having(CUPOLA_BACKEND="onnx")
    url, models, data = started(real), str(machine.home.models), str(tmp_path / "data")
    told = real.program(python, "sdk_later.py", url, models, data, MODEL.alias, QUESTION)
    assert (told["catalog"], told["model"], told["cached"]) == ([MODEL.id], MODEL.id, True)
    assert (told["loaded before"], told["loaded"], told["loaded after"]) == (False, True, False)
    assert told["loaded in service"] == []  # it has not asked
    assert "4" in told["answer"]
    assert told["own answer"]
