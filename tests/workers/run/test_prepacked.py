"""Weights that workers share: what is run stays the same, and no entry is trusted or needed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cupola.cache.home import Home
from cupola.cache.system.digests import write_digests
from cupola.workers.device.device import CPU
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run import prepacked
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from cupola.workers.run.prepacked import PrepackedWeights
from tests.workers.reference import DATA
from tests.workers.tiny import BUDGET, NAME, SLOTS, session

pytestmark = pytest.mark.slow

ROWS = [Row(0, 0, [3, 4, 5, 6], 1), Row(1, 0, [7, 8], 2)]
OPEN = """
import logging, sys
from pathlib import Path
from cupola.cache.home import Home
from tests.workers.run.test_prepacked import logits, shared
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
print(logits(shared(Home(Path(sys.argv[1])), Path(sys.argv[2]))).tolist())
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path)
    shutil.rmtree(tmp_path)  # pytest would keep what a real model leaves there


@pytest.fixture
def model(home: Home) -> Path:
    folder = home.models / "maker" / "tiny-1"
    shutil.copytree(DATA / NAME, folder)
    return folder


def shared(home: Home, model: Path, width: int = BUDGET) -> DecoderSession:
    weights = PrepackedWeights(home, model, CPU)
    folder = ModelFolder.read(model)
    return DecoderSession(folder, slots=SLOTS, width=width, threads=1, prepacked=weights)


def logits(decoder: DecoderSession) -> np.ndarray:
    return decoder.run(ROWS).copy()


def entries(home: Home) -> list[Path]:
    return [path.parent for path in home.prepacked.rglob("files.json")]


def test_the_default_model_says_the_same(home: Home, real_model_fp32: Path):
    model = home.models / "model"
    model.parent.mkdir(parents=True)
    model.symlink_to(real_model_fp32)
    folder = ModelFolder.read(model, context_limit=256)
    alone = DecoderSession(folder, slots=2, width=64, threads=2)
    weights = PrepackedWeights(home, model, CPU)
    together = DecoderSession(folder, slots=2, width=64, threads=2, prepacked=weights)
    assert len(entries(home)) == 1
    prompts = [Row(0, 0, list(range(1000, 1040)), 1), Row(1, 0, list(range(2000, 2010)), 1)]
    found = [generated(decoder, prompts, count=12) for decoder in (alone, together)]
    assert found[0] == found[1]
    together.rebuild()
    assert generated(together, prompts, count=12) == found[0]


def generated(decoder: DecoderSession, rows: list[Row], count: int) -> list[list[int]]:
    """The tokens that follow, greedily."""
    tokens = []
    for _ in range(count):
        tokens.append(decoder.run(rows).argmax(-1).tolist())
        ends = [row.past + len(row.tokens) for row in rows]
        rows = [Row(n, end, [tokens[-1][n]], 1) for n, end in enumerate(ends)]
    return tokens


@pytest.mark.parametrize("name", ["builder-int4", "phi3-long-fp32", "gpt-oss-fp32", "qwen3-int4"])
def test_other_models_say_the_same(name: str, home: Home):
    model = home.models / name
    shutil.copytree(DATA / name, model)
    folder = ModelFolder.read(model)
    alone = DecoderSession(folder, slots=SLOTS, width=BUDGET, threads=1)
    np.testing.assert_array_equal(logits(shared(home, model)), logits(alone))
    assert len(entries(home)) == 1


def test_an_entry_is_made_once(home: Home, model: Path):
    files = {path.name: path.stat().st_mtime_ns for path in model.iterdir()}
    first = logits(shared(home, model))
    (entry,) = entries(home)
    made = entry.stat()
    np.testing.assert_array_equal(logits(shared(home, model)), first)
    np.testing.assert_array_equal(logits(session()), first)
    assert entries(home) == [entry]
    assert entry.stat() == made
    assert {path.name: path.stat().st_mtime_ns for path in model.iterdir()} == files
    assert list(home.downloads.iterdir()) == []


@pytest.mark.slow
def test_two_processes_make_it_once(home: Home, model: Path):
    command = [sys.executable, "-c", OPEN, str(home.root), str(model)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    logs = [process.communicate()[0] for process in both]
    assert "".join(logs).count("for workers to share") == 1
    assert "not shared" not in "".join(logs)
    expected = logits(session()).tolist()
    assert [json.loads(each.splitlines()[-1]) for each in logs] == [expected, expected]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["graph.onnx", "weights.bin", "files.json"])
def test_a_damaged_entry_is_made_again(file: str, home: Home, model: Path):
    logits(shared(home, model))
    (entry,) = entries(home)
    whole = (entry / file).read_bytes()
    (entry / file).write_bytes(whole[: len(whole) // 2])
    np.testing.assert_array_equal(logits(shared(home, model)), logits(session()))
    assert (entry / "weights.bin").stat().st_size > 500_000
    assert prepacked.is_whole(entry)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["graph.onnx", "weights.bin"])
def test_a_changed_byte_in_an_entry_makes_it_again(file: str, home: Home, model: Path):
    logits(shared(home, model))
    (entry,) = entries(home)
    changed_at = (entry / file).stat()
    with (entry / file).open("r+b") as opened:
        opened.seek(changed_at.st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(changed_at.st_size // 2)
        opened.write(bytes([byte ^ 0x40]))
    os.utime(entry / file, ns=(changed_at.st_atime_ns, changed_at.st_mtime_ns))
    np.testing.assert_array_equal(logits(shared(home, model)), logits(session()))
    assert prepacked.is_whole(entry)


def test_an_entry_that_the_runtime_refuses_is_dropped(
    home: Home, model: Path, caplog: pytest.LogCaptureFixture
):
    logits(shared(home, model))
    (entry,) = entries(home)
    (entry / "graph.onnx").write_bytes(b"no graph")
    write_digests(entry, ("graph.onnx", "weights.bin"), "files.json")
    np.testing.assert_array_equal(logits(shared(home, model)), logits(session()))
    assert "tiny-1: its weights are not shared: onnxruntime refuses" in caplog.text
    assert entries(home) == []
    shared(home, model)
    assert entries(home) == [entry]


def test_another_state_of_the_model_or_another_graph_replaces_it(home: Home, model: Path):
    shared(home, model)
    (first,) = entries(home)
    (model / "genai_config.json").touch()
    shared(home, model)
    (second,) = entries(home)
    shared(home, model, width=BUDGET + 1)
    (third,) = entries(home)
    assert len({first, second, third}) == 3


def test_what_is_left_of_models_that_are_gone_is_cleared(home: Home, model: Path):
    other = home.models / "maker" / "other-1"
    shutil.copytree(model, other)
    shared(home, other)
    shared(home, model)
    assert len(entries(home)) == 2
    shutil.rmtree(other)
    (model / "genai_config.json").touch()
    shared(home, model)
    assert [entry.parent.name for entry in entries(home)] == ["tiny-1"]


def test_a_limit_costs_the_oldest_entries_and_then_the_sharing(
    home: Home, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    other = home.models / "maker" / "other-1"
    shutil.copytree(model, other)
    limits = iter([10**9, 10**9, 1_000_000, 1_000_000])  # an entry has 600 to 900 KB
    monkeypatch.setattr(prepacked, "limit_bytes", lambda *_: next(limits))
    shared(home, other)
    shared(home, model)
    assert [entry.parent.name for entry in entries(home)] == ["tiny-1"]
    shutil.rmtree(home.prepacked)
    monkeypatch.setattr(prepacked, "limit_bytes", lambda *_: 1000)
    np.testing.assert_array_equal(logits(shared(home, model)), logits(session()))
    assert "shared_weights_disk_mb" in caplog.text
    assert entries(home) == []


def test_a_full_disk_costs_only_the_sharing(
    home: Home, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(prepacked, "SPACE", 10**12)
    np.testing.assert_array_equal(logits(shared(home, model)), logits(session()))
    assert "not shared: [Errno 28]" in caplog.text
    assert entries(home) == []


def test_a_folder_that_cannot_be_written_costs_only_the_sharing(
    home: Home, model: Path, caplog: pytest.LogCaptureFixture
):
    home.prepacked.write_text("in the way")
    np.testing.assert_array_equal(logits(shared(home, model)), logits(session()))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_model_elsewhere_is_not_shared(home: Home, caplog: pytest.LogCaptureFixture):
    np.testing.assert_array_equal(logits(shared(home, DATA / NAME)), logits(session()))
    assert "not shared" in caplog.text
