"""foundry.modelinfo.json: read and written in both forms."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.foundry_catalog import read_facts
from cupola.cache.home import Home
from cupola.cache.store import ModelCache

PHI = "Phi-4-mini-instruct-generic-cpu:5"
GENAI = {"model": {"type": "llama", "context_length": 4096}, "search": {"max_length": 4096}}
# An entry as 1.x and 2.x write it, shortened.
NEW = {
    "id": PHI,
    "name": "Phi-4-mini-instruct-generic-cpu",
    "version": 5,
    "alias": "phi-4-mini",
    "uri": "azureml://registries/azureml/models/Phi-4-mini-instruct-generic-cpu/versions/5",
    "displayName": "Phi 4 mini",
    "license": "MIT",
    "task": "chat-completion",
    "createdAt": 1740000000,
    "promptTemplate": None,
    "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"},
}
OLD = {**NEW, "name": PHI, "version": "5"}  # an entry of 0.x
del OLD["id"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def place(home: Home, model_id: str, publisher: str = "Microsoft") -> Path:
    folder = home.models / publisher / model_id.replace(":", "-")
    folder.mkdir(parents=True)
    (folder / "genai_config.json").write_text(json.dumps(GENAI))
    (folder / "inference_model.json").write_text(json.dumps({"Name": model_id}))
    (folder / "model.onnx").write_bytes(b"x" * 2_000_000)
    return folder


def write(home: Home, content: Any) -> None:
    home.models.mkdir(parents=True, exist_ok=True)
    home.foundry_catalog.write_text(json.dumps(content))


def listed(home: Home) -> list[str]:
    content = json.loads(home.foundry_catalog.read_text())
    assert content["version"] == 1 and content["savedAtUnix"] > 1_700_000_000
    return [entry["id"] if "id" in entry else entry["name"] for entry in content["models"]]


@pytest.mark.parametrize(
    "content", [{"version": 1, "savedAtUnix": 1, "models": [NEW]}, [OLD]], ids=["new", "old"]
)
def test_it_says_what_is_known_about_a_model_on_the_disk(home: Home, content: Any) -> None:
    place(home, PHI)
    write(home, content)
    variant = ModelCache(home).find("phi-4-mini").variant
    assert (variant.display_name, variant.license) == ("Phi 4 mini", "MIT")
    assert variant.created_at == 1740000000


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, null, {}]", b'{"models": 3}', b"[" * 100_000, b"\xff\xfe"]
)
def test_a_file_that_says_nothing_hides_no_model(home: Home, content: bytes) -> None:
    place(home, PHI)
    home.foundry_catalog.write_bytes(content)
    assert read_facts(home) == {}
    assert [model.variant.id for model in ModelCache(home).scan()] == [PHI]
    ModelCache(home).publish()
    assert listed(home) == [PHI]


def test_a_description_may_be_hidden(home: Home) -> None:
    folder = place(home, PHI)
    (folder / "inference_model.json").rename(folder / ".inference_model.json")
    assert [model.variant.id for model in ModelCache(home).scan()] == [PHI]


def test_it_follows_the_disk(home: Home) -> None:
    cache = ModelCache(home)
    cache.publish()
    assert not home.foundry_catalog.exists()
    place(home, "first-generic-cpu:1")
    place(home, "second-generic-cpu:2")
    cache.publish()
    assert sorted(listed(home)) == ["first-generic-cpu:1", "second-generic-cpu:2"]
    cache.remove("first-generic-cpu:1")
    assert listed(home) == ["second-generic-cpu:2"]
    assert [path.name for path in home.models.iterdir() if path.is_file()] == [
        "foundry.modelinfo.json"
    ]


def test_entries_of_others_stay(home: Home) -> None:
    other = {**NEW, "id": "other-generic-cpu:1"}
    write(home, {"version": 1, "savedAtUnix": 1, "models": [other, NEW]})
    place(home, PHI)
    ModelCache(home).publish()
    assert sorted(listed(home)) == sorted([PHI, "other-generic-cpu:1"])
    ModelCache(home).remove(PHI)
    assert listed(home) == ["other-generic-cpu:1"]


def test_a_file_that_an_older_service_keeps_stays_an_array(home: Home) -> None:
    other = {**OLD, "name": "other-generic-cpu:1"}
    write(home, [other, OLD])
    kept = time.time() - 3600
    os.utime(home.foundry_catalog, (kept, kept))
    place(home, PHI)
    place(home, "mine-generic-cpu:3", "local")
    ModelCache(home).publish()
    content = json.loads(home.foundry_catalog.read_text())
    assert {entry["name"] for entry in content} == {
        PHI, "other-generic-cpu:1", "mine-generic-cpu:3"
    }  # fmt: skip
    [mine] = [entry for entry in content if entry["name"].startswith("mine")]
    assert mine["version"] == "3" and "id" not in mine
    assert mine["runtime"] == {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"}
    assert mine["modelSettings"] == {"parameters": []} and mine["minFLVersion"] == ""
    assert abs(home.foundry_catalog.stat().st_mtime - kept) < 2  # it is refreshed when it was to be
    assert read_facts(home)["mine-generic-cpu:3"].model_id == "mine-generic-cpu:3"
    before = home.foundry_catalog.read_bytes()
    ModelCache(home).publish()
    assert home.foundry_catalog.read_bytes() == before


def test_an_array_that_nobody_keeps_becomes_the_newer_form(home: Home) -> None:
    write(home, [OLD])
    kept = time.time() - 5 * 3600
    os.utime(home.foundry_catalog, (kept, kept))
    place(home, PHI)
    ModelCache(home).publish()
    assert listed(home) == [PHI]


def test_nothing_is_written_when_nothing_has_changed(home: Home) -> None:
    place(home, PHI)
    ModelCache(home).publish()
    os.utime(home.foundry_catalog, (1, 1))
    ModelCache(home).publish()
    assert home.foundry_catalog.stat().st_mtime == 1


def test_what_an_entry_says(home: Home) -> None:
    place(home, "mine-generic-cpu:3", "local")
    ModelCache(home).publish()
    [entry] = json.loads(home.foundry_catalog.read_text())["models"]
    assert entry["version"] == 3 and entry["name"] == "mine-generic-cpu"
    assert entry["fileSizeMb"] == 2
    assert entry["runtime"] == {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"}
    assert entry["uri"].startswith("azureml://registries/cupola/models/mine-generic-cpu/")


def test_a_disk_that_takes_no_file_is_no_failure(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    place(home, PHI)
    monkeypatch.setattr(os, "replace", refuse)
    ModelCache(home).publish()
    assert "cannot be written: Read-only" in caplog.text
    assert [path.name for path in home.models.iterdir()] == ["Microsoft"]
