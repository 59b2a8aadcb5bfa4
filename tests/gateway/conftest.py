from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_gateway import MODEL_ID, RunningGateway
from scripted_scheduler import ScriptedScheduler

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder in which the default model looks downloaded. Its weights are never read."""
    folder = Home(tmp_path).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    folder.mkdir(parents=True)
    search = {"max_length": 8192}
    (folder / "genai_config.json").write_text(
        json.dumps({"model": {"type": "llama", "context_length": 8192}, "search": search})
    )
    (folder / "inference_model.json").write_text(
        json.dumps({"Name": MODEL_ID, "PromptTemplate": None})
    )
    (folder / "model.onnx").write_bytes(b"not read here")
    return tmp_path


@pytest.fixture
def scheduler() -> Iterator[ScriptedScheduler]:
    with ScriptedScheduler() as scheduler:
        yield scheduler


@pytest.fixture
def gateway(scheduler: ScriptedScheduler, home: Path) -> Iterator[RunningGateway]:
    with RunningGateway(scheduler.endpoint, home) as gateway:
        yield gateway
