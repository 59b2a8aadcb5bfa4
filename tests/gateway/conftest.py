from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from tests.gateway.running_gateway import MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler


def furnished(home: Path) -> Path:
    """A data folder in which the default model looks downloaded. Its weights are never read."""
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    folder.mkdir(parents=True)
    search = {"max_length": 8192}
    (folder / "genai_config.json").write_text(
        json.dumps({"model": {"type": "llama", "context_length": 8192}, "search": search})
    )
    (folder / "inference_model.json").write_text(
        json.dumps({"Name": MODEL_ID, "PromptTemplate": None})
    )
    (folder / "model.onnx").write_bytes(b"not read here")
    return home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture
def scheduler() -> Iterator[ScriptedScheduler]:
    with ScriptedScheduler() as scheduler:
        yield scheduler


@pytest.fixture
def gateway(scheduler: ScriptedScheduler, home: Path) -> Iterator[RunningGateway]:
    with RunningGateway(scheduler.endpoint, home) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shared_scheduler() -> Iterator[ScriptedScheduler]:
    """For modules of many small tests, each of which sets the script that it needs."""
    with ScriptedScheduler() as scheduler:
        yield scheduler


@pytest.fixture(scope="module")
def shared_gateway(
    shared_scheduler: ScriptedScheduler, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    home = furnished(tmp_path_factory.mktemp("home"))
    with RunningGateway(shared_scheduler.endpoint, home) as gateway:
        yield gateway
