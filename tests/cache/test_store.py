import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.catalog import (
    DeviceType,
    ExecutionProvider,
    UnknownModelError,
)
from cupola.cache.catalog_file import built_in
from cupola.cache.errors import NotCachedError
from cupola.cache.home import Home
from cupola.cache.model_config import alias_of
from cupola.cache.store import ModelCache
from tests.default_model import DEFAULT_MODEL

PHI = "Phi-4-mini-instruct-generic-cpu:5"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def place(home: Home, folder: str, name: str = PHI, **files: Any) -> Path:
    """A model folder as Foundry Local leaves it; ``files`` replaces the content of its JSONs."""
    path = home.models / folder
    path.mkdir(parents=True)
    config = {
        "model": {
            "type": "phi3",
            "context_length": 4096,
            "decoder": {"session_options": {"provider_options": []}},
        },
        "search": {"max_length": 2048},
    }
    described: dict[str, Any] = {"Name": name, "PromptTemplate": None}
    (path / "genai_config.json").write_text(files.get("genai", json.dumps(config)))
    (path / "inference_model.json").write_text(files.get("inference", json.dumps(described)))
    (path / "model.onnx.data").write_bytes(bytes(3_000_000))
    return path


def test_without_a_folder_there_are_no_models(home: Home) -> None:
    cache = ModelCache(home)
    assert cache.scan() == []
    assert {v.id: v for v in cache.catalog()} == {v.id: v for v in built_in()}


def test_a_folder_of_foundry_locals(home: Home) -> None:
    path = place(home, "Microsoft/Phi-4-mini-instruct-generic-cpu-5")
    (model,) = ModelCache(home).scan()
    assert model.path == path
    variant = model.variant
    assert variant.id == PHI
    assert variant.alias == "phi-4-mini"
    assert variant.publisher == "Microsoft"
    assert variant.provider is ExecutionProvider.CPU
    assert variant.device is DeviceType.CPU
    assert (variant.context_length, variant.max_output_tokens) == (4096, 2048)
    assert variant.file_size_mb == 3
    assert variant.source is None


def test_folders_in_folders_and_at_the_top(home: Home) -> None:
    place(home, "Microsoft/multi-1/cpu", "multi-generic-cpu:1")
    place(home, "Microsoft/multi-1/gpu", "multi-cuda-gpu:1")
    place(home, "mine", "mine")
    found = {model.variant.id: model.variant.publisher for model in ModelCache(home).scan()}
    assert found == {
        "multi-cuda-gpu:1": "Microsoft",
        "multi-generic-cpu:1": "Microsoft",
        "mine:0": "local",
    }


def test_downloads_in_progress_are_no_models(home: Home) -> None:
    path = place(home, "Microsoft/multi-1/cpu")
    (path.parent / "download.tmp").touch()
    assert ModelCache(home).scan() == []


@pytest.mark.parametrize(
    "broken",
    [
        {"inference": "{"},
        {"inference": "[]"},
        {"inference": '{"name": "lower case"}'},
        {"inference": '{"Name": " "}'},
        {"inference": "\x00\xff"},
        {"genai": ""},
        {"genai": '{"model": {"context_length": "many"}}'},
        {"genai": '{"search": {}}'},
        {"genai": '{"a": "' + "x" * (1 << 22) + '"}'},
        {
            "genai": '{"model": {"decoder": {"session_options":'
            ' {"provider_options": [{"abacus": {}}]}}}}'
        },
    ],
)
def test_a_broken_folder_is_logged_and_left_out(
    broken: dict[str, str], home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    place(home, "bad/bad-1", **broken)
    place(home, "good/good-1", "good:1")
    with caplog.at_level(logging.WARNING):
        assert [model.variant.id for model in ModelCache(home).scan()] == ["good:1"]
    assert "bad-1 is not a usable model folder" in caplog.text


@pytest.mark.parametrize(
    ("options", "model_id", "provider", "device"),
    [
        ([{"cuda": {}}], "m-cuda-gpu:1", ExecutionProvider.CUDA, DeviceType.GPU),
        ([{"QNN": {}}], "m-qnn-npu:1", ExecutionProvider.QNN, DeviceType.NPU),
        ([{"OpenVINO": {}}], "m-openvino-npu:1", ExecutionProvider.OPENVINO, DeviceType.NPU),
        ([{"OpenVINO": {}}], "m:1", ExecutionProvider.OPENVINO, DeviceType.CPU),
        ([{}], "m:1", ExecutionProvider.CPU, DeviceType.CPU),
    ],
)
def test_provider_is_the_configs(
    options: list[Any], model_id: str, provider: str, device: str, home: Home
) -> None:
    config = {"model": {"decoder": {"session_options": {"provider_options": options}}}}
    place(home, "p/m-1", model_id, genai=json.dumps(config))
    (model,) = ModelCache(home).scan()
    assert (model.variant.provider, model.variant.device) == (provider, device)


def test_a_known_model_keeps_the_catalogs_words(home: Home) -> None:
    place(home, "elsewhere/x-1", DEFAULT_MODEL.id.upper())
    variant, *_ = ModelCache(home).catalog().find(DEFAULT_MODEL.alias)
    assert variant.id == DEFAULT_MODEL.id
    assert variant.display_name == "SmolLM2 135M Instruct"
    assert variant.context_length == 4096  # what the disk has counts
    assert variant.source == DEFAULT_MODEL.source


@pytest.mark.parametrize(
    "key", ["phi-4-mini", "PHI-4-MINI", PHI, PHI.lower(), PHI.rpartition(":")[0]]
)
def test_find_by_every_name(key: str, home: Home) -> None:
    path = place(home, "Microsoft/Phi-4-mini-instruct-generic-cpu-5")
    assert ModelCache(home).find(key).path == path


def test_a_cached_variant_wins_over_a_better_one(home: Home) -> None:
    place(home, "p/old-1", "smollm2-135m-instruct:0")
    place(home, "p/new-1", "smollm2-135m-instruct:3")
    found = ModelCache(home).find("smollm2-135m")
    assert found.variant.id == "smollm2-135m-instruct:3"


def test_what_is_not_there(home: Home) -> None:
    place(home, "Microsoft/Phi-4-mini-instruct-generic-cpu-5")
    cache = ModelCache(home)
    with pytest.raises(NotCachedError, match=DEFAULT_MODEL.id) as missing:
        cache.find("smollm2-135m")
    assert missing.value.variant == DEFAULT_MODEL
    with pytest.raises(UnknownModelError, match="did you mean phi-4-mini"):
        cache.find("phi-4-mimi")


def test_remove(home: Home) -> None:
    path = place(home, "Microsoft/Phi-4-mini-instruct-generic-cpu-5")
    other = place(home, "other/other-1", "other:1")
    cache = ModelCache(home)
    cache.remove("phi-4-mini")
    assert not path.parent.exists()
    assert [model.path for model in cache.scan()] == [other]
    assert list(home.downloads.iterdir()) == []
    with pytest.raises(UnknownModelError):
        cache.remove(PHI)


def test_what_workers_derive_is_no_model_and_goes_with_its_model(home: Home) -> None:
    path = place(home, "Microsoft/phi")
    derived = home.prepacked_folder(path) / "0123456789abcdef"
    shutil.copytree(path, derived)
    cache = ModelCache(home)
    assert [model.path for model in cache.scan()] == [path]
    cache.remove(PHI)
    assert not derived.exists()
    assert cache.scan() == []


def test_removing_a_link_keeps_what_it_points_to(home: Home, tmp_path: Path) -> None:
    real = place(Home(tmp_path / "elsewhere"), "p/m-1", "m:1")
    home.models.mkdir(parents=True)
    (home.models / "m-1").symlink_to(real, target_is_directory=True)
    ModelCache(home).remove("m:1")
    assert (real / "inference_model.json").exists()
    assert ModelCache(home).scan() == []
    assert home.models.is_dir()


def test_loops_of_links_end(home: Home) -> None:
    place(home, "p/m-1", "m:1")
    (home.models / "p" / "loop").symlink_to(home.models, target_is_directory=True)
    assert len(ModelCache(home).scan()) == 1


@pytest.mark.parametrize(
    ("model_id", "alias"),
    [
        ("Phi-4-mini-instruct-generic-cpu:5", "phi-4-mini"),
        ("qwen2.5-0.5b-instruct-cuda-gpu:4", "qwen2.5-0.5b"),
        ("Mistral-7B-Instruct-v0.2-openvino-npu:1", "mistral-7b-v0.2"),
        ("plain", "plain"),
        ("-instruct:1", "-instruct"),
    ],
)
def test_alias_of_a_foreign_model(model_id: str, alias: str) -> None:
    assert alias_of(model_id) == alias
