"""Models of other programs on this disk: which are found, and how they become ours."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from cupola.cache.home import Home
from cupola.cache.install.found_models import FoundModel, Way, found_models, take
from cupola.cache.store import ModelCache

GRAPH = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])).SerializeToString()
CONFIG = {"model": {"type": "llama", "context_length": 64}, "search": {"max_length": 64}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "person" / ".foundry")


@pytest.fixture
def person(tmp_path: Path) -> Path:
    return tmp_path / "person"


def model(folder: Path, name: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "genai_config.json").write_text(json.dumps(CONFIG))
    (folder / "model.onnx").write_bytes(GRAPH)
    (folder / "tokenizer.json").write_text("{}")
    if name:
        (folder / "inference_model.json").write_text(json.dumps({"Name": name}))
    return folder


def test_a_folder_that_a_person_put_there_gets_a_name(home: Home, person: Path) -> None:
    path = model(home.models / "Phi-4-mini-onnx")
    [found] = found_models(home, {}, person)
    assert found == FoundModel(path, "phi-4-mini-onnx-generic-cpu:1", Way.DESCRIBE)
    assert ModelCache(home).scan() == []
    take(found, home)
    assert ModelCache(home).find("phi-4-mini-onnx").path == path
    assert found_models(home, {}, person) == []


def test_what_is_half_there_is_left_alone(home: Home, person: Path) -> None:
    model(home.models / "a" / "running")
    (home.models / "a" / "download.tmp").touch()
    (model(home.models / "b") / "tokenizer.json").unlink()
    (model(home.models / "c") / "model.onnx").unlink()
    (model(home.models / "d") / "genai_config.json").write_text("{")
    model(home.models / ".hidden")
    assert found_models(home, {}, person) == []


def test_an_app_with_foundry_locals_sdk(home: Home, person: Path) -> None:
    path = model(person / ".my-app" / "cache" / "models" / "Microsoft" / "phi-1", "phi:1")
    model(home.models / "mine", "mine:1")
    model(person / ".my-app" / "cache" / "models" / "Microsoft" / "mine-1", "mine:1")
    [found] = found_models(home, {}, person)
    assert found == FoundModel(path, "phi:1", Way.LINK)
    take(found, home)
    linked = ModelCache(home).find("phi")
    assert linked.path.is_symlink() and linked.path.resolve() == path.resolve()
    ModelCache(home).remove("phi")
    assert path.is_dir()  # the app still has it


@pytest.mark.parametrize("name", ["../../up:1", "/etc:1", "a b/c:1", "..", "ü:1"])
def test_odd_names_stay_in_the_folder(home: Home, person: Path, name: str) -> None:
    model(person / ".app" / "cache" / "models" / ".." / "models" / "x" / "m", name)
    for found in found_models(home, {}, person):
        take(found, home)
    [linked] = ModelCache(home).scan()
    assert linked.path.parent.parent == home.models and linked.path.is_symlink()


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", ""])
def test_the_cache_of_the_hub(home: Home, person: Path, variable: str) -> None:
    place = person / "elsewhere" if variable else person / ".cache"
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub"}.get(variable, "huggingface/hub")
    hub = place / below
    snapshots = hub / "models--Qwen--Qwen3-GGUF" / "snapshots"
    (snapshots / "abc").mkdir(parents=True)
    (snapshots / "abc" / "qwen3-q8_0.gguf").write_bytes(b"GGUF")
    (hub / "models--other--Weights" / "snapshots" / "abc").mkdir(parents=True)
    (hub / "models--other--Empty").mkdir()
    environment = {variable: str(place)} if variable else {}
    [found] = found_models(home, environment, person)
    assert found == FoundModel(snapshots / "abc", "Qwen3-GGUF", Way.IMPORT)
