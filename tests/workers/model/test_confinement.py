"""A model that somebody else has made loads no library and names no file outside its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.system.confined_names import leads_out
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
from tests.cases import case
from tests.workers.reference import DATA

Place = tuple[str | int, ...]

# Where onnxruntime-genai has options of sessions. What is not there yet is refused as well.
SESSIONS: list[Place] = [
    ("decoder", "session_options"),
    ("encoder", "session_options"),
    ("embedding", "session_options"),
    ("vision", "session_options"),
    ("speech", "session_options"),
    ("decoder", "pipeline", 0, "embeddings", "session_options"),
    ("vision", "pipeline", 0, "patch", "session_options"),
    ("decoder", "run_options"),
    ("draft", "session_options"),
    ("vad", "session_options"),
    ("of_a_later_version", "session_options"),
]
CODE: list[tuple[str, Any]] = [
    ("custom_ops_library", "ops.so"),
    ("custom_ops_library", "/opt/libops.so"),
    ("custom_ops_library", "a library of any name"),
    ("Custom_Ops_Library", "ops.dll"),
    ("custom_ops_libraries", ["ops.so"]),
    ("provider_options", [{"QNN": {"backend_path": "ops.so"}}]),
    ("provider_options", [{"QNN": {"backend_path": "sub/QnnHtp.dll"}}]),
    ("provider_options", [{"QNN": {"op_packages": "Op:x:Interface:HTP"}}]),
    ("provider_options", [{"cuda": {}}, {"NvTensorRtRtx": {"trt_extra_plugin_lib_paths": "x"}}]),
    ("provider_options", [{"cpu": {"library_path": "x"}}]),
    ("provider_options", [{"anything": {"new_option": "lib/anything.so.1"}}]),
    ("provider_options", [{"RyzenAI": {}}]),
    ("provider_options", [{"cpu": {}}, {"AMDGPU": {}}]),
    ("enable_profiling", "profile"),
    ("enable_profiling", True),
]
# Names that lead out of a folder.
OUTSIDE = [
    "../model.onnx",
    "a/../../model.onnx",
    "..",
    "/etc/hostname",
    "\\\\server\\share\\model.onnx",
    "..\\model.onnx",
    "C:\\model.onnx",
    "c:model.onnx",
    "~/model.onnx",
    "model.onnx\0",
]
FILES: list[Place] = [
    ("decoder", "filename"),
    ("encoder", "filename"),
    ("embedding", "filename"),
    ("vision", "filename"),
    ("vision", "config_filename"),
    ("vision", "adapter_filename"),
    ("speech", "config_filename"),
    ("decoder", "pipeline", 0, "embeddings", "filename"),
    ("encoder_decoder_init", "cross_kv_filename"),
    ("decoder", "session_options", "provider_options", 0, "OpenVINO", "cache_dir"),
    ("decoder", "session_options", "ep.context_file_path"),
    ("tokenizer_dir",),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(DATA / "builder-fp32", tmp_path / "models" / "tiny-1")


def put(folder: Path, place: Place, value: Any) -> None:
    """Write a value at a place below ``model`` of the config, which is as it was otherwise."""
    file = folder / "genai_config.json"
    config = json.loads((DATA / "builder-fp32" / file.name).read_text())
    inner: Any = config["model"]
    for key, following in pairwise(place):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(key, str):
            inner = inner.setdefault(key, empty)
        else:
            if len(inner) <= key:
                inner.append(empty)
            inner = inner[key]
    inner[place[-1]] = value
    file.write_text(json.dumps(config))


def loaded(folder: Path, backend: str = "onnx") -> None:
    model = LocalModel("tiny:1", str(folder), ExecutionProvider.CPU)
    load(model, EngineOptions(backend=backend, slots=2))


@pytest.mark.parametrize("session", SESSIONS, ids=lambda place: ".".join(map(str, place)))
def test_a_config_names_no_code(folder: Path, session: Place) -> None:
    for key, value in CODE:
        put(folder, (*session, key), value)
        message = rf"tiny-1: genai_config.json: model\..*{key}"
        with case(key, value), pytest.raises(ModelFolderError, match=message):
            ModelFolder.read(folder)


@pytest.mark.parametrize("backend", ["onnx", "genai"])
def test_no_engine_loads_a_library(folder: Path, backend: str) -> None:
    put(folder, ("decoder", "session_options", "custom_ops_library"), "ops.so")
    with pytest.raises(ModelFolderError, match="names a library"):
        loaded(folder, backend)


@pytest.mark.parametrize("place", FILES, ids=lambda place: ".".join(map(str, place)))
def test_a_config_names_no_file_outside(folder: Path, place: Place) -> None:
    message = "names a file outside the model's folder"
    for name in OUTSIDE:
        put(folder, place, name)
        with case(name), pytest.raises(ModelFolderError, match=message):
            ModelFolder.read(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("custom_ops_library", ""),
        ("custom_ops_library", None),
        ("enable_profiling", ""),
        ("enable_profiling", False),
        ("provider_options", [{"QNN": {"backend_path": "QnnHtp.dll", "soc_model": "60"}}]),
        ("provider_options", [{"QNN": {"backend_path": "libQnnHtp.so"}}]),
        ("provider_options", [{"cuda": {"enable_cuda_graph": "0"}}]),
        ("provider_options", [{"OpenVINO": {"device_type": "NPU", "cache_dir": "cache"}}]),
        ("log_id", "onnxruntime-genai"),
    ],
)
def test_what_is_harmless_is_read(folder: Path, key: str, value: Any) -> None:
    put(folder, ("decoder", "session_options", key), value)
    ModelFolder.read(folder)


def test_names_of_tensors_are_no_files(folder: Path) -> None:
    put(folder, ("decoder", "outputs", "hidden_states"), "/model/norm/output_0")
    ModelFolder.read(folder)


@pytest.mark.parametrize("name", ["model.onnx", "sub/model.onnx", "a..b.onnx", "...", "ü.onnx"])
def test_names_in_the_folder(name: str) -> None:
    assert not leads_out(name)


@pytest.mark.parametrize("value", [5, None, [], {}, ""])
def test_the_decoder_has_a_name(folder: Path, value: Any) -> None:
    put(folder, ("decoder", "filename"), value)
    with pytest.raises(ModelFolderError, match=r"model\.decoder\.filename is not the name"):
        ModelFolder.read(folder)


def test_a_key_that_is_there_twice_is_refused(folder: Path) -> None:
    file = folder / "genai_config.json"
    twice = '"session_options": {"custom_ops_library": "x.so", "custom_ops_library": "",'
    file.write_text(file.read_text().replace('"session_options": {', twice, 1))
    with pytest.raises(ModelFolderError, match="'custom_ops_library' is there twice"):
        ModelFolder.read(folder)


def test_a_config_that_is_nested_deeply_is_refused(folder: Path) -> None:
    (folder / "genai_config.json").write_text('{"model": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ModelFolderError, match="nested too deeply"):
        ModelFolder.read(folder)


def weights(folder: Path, outside: Path) -> None:
    shutil.move(folder / "model.onnx.data", outside)
    (folder / "model.onnx.data").symlink_to(outside / "model.onnx.data")


def graph(folder: Path, outside: Path) -> None:
    shutil.move(folder / "model.onnx", outside)
    (folder / "model.onnx").symlink_to(outside / "model.onnx")


def relative(folder: Path, outside: Path) -> None:
    shutil.move(folder / "tokenizer.json", folder.parent)
    (folder / "tokenizer.json").symlink_to("../tokenizer.json")


def inner_folder(folder: Path, outside: Path) -> None:
    (folder / "sub").symlink_to(outside, target_is_directory=True)


def chain(folder: Path, outside: Path) -> None:
    (folder / "second").symlink_to(folder / "third")
    (folder / "first").symlink_to(folder / "second")
    (folder / "third").symlink_to(outside)


@pytest.mark.parametrize("link", [weights, graph, relative, inner_folder, chain])
def test_no_link_leads_out(
    folder: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link(folder, outside)
    with pytest.raises(ModelFolderError, match="is a link to a file outside") as raised:
        ModelFolder.read(folder)
    assert str(tmp_path) not in str(raised.value)


def test_a_link_to_itself(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(ModelFolderError, match="loop is a link to itself"):
        ModelFolder.read(folder)


def test_links_that_stay_inside(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "other.onnx")
    (folder / "model.onnx").symlink_to("other.onnx")
    loaded(folder)


def test_the_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    loaded(link)
