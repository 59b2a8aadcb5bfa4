"""A model whose files have changed since it was installed is not loaded."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.model_config import FEW_TOKEN_FILES
from cupola.cache.system.digests import (
    MANIFEST,
    DamagedFileError,
    check_digests,
    write_model_digests,
)
from cupola.scheduler.protocol.messages import ErrorCode, LoadModel, Rejected
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.device.mapped_files import drop_pages
from cupola.workers.engine.engine import Engine
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import Backend
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
from cupola.workers.residency import Residency
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker
from tests.w8a8 import write_w8a8
from tests.workers.reference import DATA

CPU = ExecutionProvider.CPU
LISTED = ["model.onnx", "model.onnx.data", "tokenizer.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(DATA / "builder-int4", tmp_path / "models" / "maker" / "tiny-1")


def loaded(folder: Path, backend: str = "onnx") -> Backend:
    return load(LocalModel("tiny:1", str(folder), CPU), EngineOptions(backend=backend, slots=2))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


@pytest.mark.parametrize("backend", ["onnx", "genai"])
@pytest.mark.parametrize("name", LISTED)
def test_a_damaged_file_is_named(folder: Path, name: str, backend: str) -> None:
    write_model_digests(folder)
    flip(folder / name)
    expected = rf"tiny-1/{name} is damaged: .*; download or import the model again, or delete "
    with pytest.raises(ModelFolderError, match=expected):
        loaded(folder, backend)


def test_a_whole_model_is_loaded(folder: Path) -> None:
    write_model_digests(folder)
    loaded(folder)


def test_a_model_without_digests_is_loaded_and_gets_none(folder: Path) -> None:
    loaded(folder)
    assert not (folder / MANIFEST).exists()


def test_a_config_that_was_edited_is_read(folder: Path) -> None:
    write_model_digests(folder)
    config = folder / "genai_config.json"
    config.write_text(config.read_text() + "\n")
    loaded(folder)


@pytest.fixture(scope="module")
def two_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_w8a8(tmp_path_factory.mktemp("two"), tied=True, kind=Kind.Q4_1)


@pytest.mark.parametrize("name", FEW_TOKEN_FILES)
@pytest.mark.parametrize("damage", [Path.unlink, flip, lambda file: os.truncate(file, 99)])
@pytest.mark.parametrize("listed", [True, False])
def test_a_damaged_second_graph_is_done_without(
    two_graphs: Path,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], None],
    listed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = shutil.copytree(two_graphs, tmp_path / "tiny-1")
    if listed:
        write_model_digests(folder)
    damage(folder / name)
    options = EngineOptions(slots=2, block_bytes=1 << 24, warm_up=False)
    engine = load(LocalModel("tiny:1", str(folder), CPU), options)
    assert isinstance(engine, Engine) and isinstance(engine.session, DecoderSession)
    engine.session.wait()
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(told) <= 1 and not any(each.exc_info for each in told)
    if listed:
        assert (
            told[0].getMessage().startswith(f"tiny-1: one answer at a time will be slower: {name}")
        )
        with pytest.raises(DamagedFileError, match=name):
            check_digests(folder)


@pytest.mark.parametrize("name", ["genai_config.json", *LISTED])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b'{"model": {"decoder": 5}}'])
@pytest.mark.parametrize("backend", ["onnx", "genai"])
def test_clients_see_no_paths(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, backend: str
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    text = load_error(folder, backend)
    assert "'tiny:1' could not be loaded: " in text
    assert str(tmp_path) not in text
    assert "/onnxruntime_src/" not in text


def load_error(folder: Path, backend: str) -> str:
    """What a client is told when the load fails."""
    worker = Worker(Identity("w", CPU, 1, 2), Residency(60.0), lambda model: None)
    model = LocalModel("tiny:1", str(folder), CPU)
    worker.receive(LoadModel("r", model), 0.0)
    with pytest.raises(Exception) as raised:
        loaded(folder, backend)
    assert isinstance(raised.value, Exception)
    (answer,) = (a for a in worker.loaded(model.id, raised.value, 1.0) if isinstance(a, Rejected))
    assert answer.code is ErrorCode.MODEL_LOAD_FAILED
    return answer.message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of mappings")
def test_a_loaded_model_keeps_no_page_of_its_files(folder: Path) -> None:
    """It has read all of them. What it reads again comes back."""
    backend = loaded(folder)
    assert drop_pages(folder) == 0
    assert isinstance(backend, Engine) and isinstance(backend.session, DecoderSession)
    rows = [Row(0, 0, [3, 4, 5], 3)]
    fresh = DecoderSession(ModelFolder.read(folder), slots=2, width=16, threads=1)
    assert drop_pages(folder) > 0  # that one has read them, and not given them back
    np.testing.assert_array_equal(backend.session.run(rows), fresh.run(rows))


@pytest.mark.slow
def test_a_load_does_not_wait_for_what_is_built_of_another_model(
    two_graphs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    session = ort.InferenceSession

    def start_late(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "weights in blocks":
            begun.set()
            assert may_end.wait(60)
        return session(*args, **kwargs)

    monkeypatch.setattr(ort, "InferenceSession", start_late)
    options = EngineOptions(slots=2, block_bytes=1 << 24, warm_up=False)
    first = load(LocalModel("first:1", str(two_graphs), CPU), options)
    assert begun.wait(60)
    second = threading.Thread(target=loaded, args=[folder])
    second.start()
    second.join(60)
    waits = second.is_alive()
    may_end.set()
    assert not waits
    assert isinstance(first, Engine) and isinstance(first.session, DecoderSession)
    first.session.wait()
    assert first.session.blocks is not None and first.session.blocks.ready
