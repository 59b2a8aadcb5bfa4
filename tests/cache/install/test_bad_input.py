"""What no model can be made of: one line says so, and nothing is left on the disk."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from gguf.constants import GGMLQuantizationType, GGUFValueType
from onnx import TensorProto, helper

from cupola.cache.errors import CacheError
from cupola.cache.home import Home
from cupola.cache.install.__main__ import run
from cupola.cache.install.import_path import import_path
from cupola.cache.install.messages import ImportJob, InstallFailed
from cupola.cache.store import ModelCache
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.convert.tiny_gguf import TinyModel


def gguf(**changed: object) -> Callable[[Path], Path]:
    return lambda folder: TinyModel(**changed).write(folder / "m.gguf")  # type: ignore[arg-type]


def cut(folder: Path) -> Path:
    path = TinyModel().write(folder / "m.gguf")
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def not_a_number(folder: Path) -> Path:
    path = TinyModel().write(folder / "m.gguf")
    path.write_bytes(path.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    return path


def content(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.gguf", "w") as file:
        file.writestr("../../evil.txt", "evil")
    return folder / "model.gguf"


def folder_with(name: str, data: bytes | None, family: str = "llama") -> Callable[[Path], Path]:
    """A folder of safetensors with one file changed, or without it."""

    def write(folder: Path) -> Path:
        model = FAMILIES[family].write_folder(folder / "model").parent
        if data is None:
            (model / name).unlink()
        else:
            (model / name).write_bytes(data)
        return model

    return write


def safetensors_not_a_number(folder: Path) -> Path:
    weights = FAMILIES["llama"].write_folder(folder / "model").parent / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-2] + b"\xff\x7f")
    return weights.parent


def onnx_folder(*nodes: onnx.NodeProto, location: str = "") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        model = folder / "model"
        model.mkdir()
        config = {"model": {"type": "llama", "context_length": 8, "decoder": {}}}
        (model / "genai_config.json").write_text(json.dumps(config))
        (model / "tokenizer.json").write_text("{}")
        weights = []
        if location:
            tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=location)
            weights.append(tensor)
        graph = helper.make_graph(list(nodes), "g", [], [], weights)
        (model / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
        return model

    return write


def branching(domain: str) -> onnx.NodeProto:
    inner = helper.make_graph([helper.make_node("Hidden", [], ["b"], domain=domain)], "b", [], [])
    return helper.make_node("If", ["c"], ["a"], then_branch=inner, else_branch=inner)


def deep(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


def pipe(name: str, folder_of: str = "") -> Callable[[Path], Path]:
    """A pipe to which nobody writes, alone or in a folder of safetensors in place of a file."""

    def write(folder: Path) -> Path:
        place = FAMILIES[folder_of].write_folder(folder / "m").parent if folder_of else folder
        (place / name).unlink(missing_ok=True)
        os.mkfifo(place / name)
        return place if folder_of else place / name

    return write


def of_integers(folder: Path) -> Path:
    """A GGUF whose first matrix says that its float32 are int32."""
    path = TinyModel().write(folder / "m.gguf")
    data, name = path.read_bytes(), b"token_embd.weight"
    at = data.index(name) + len(name) + 4 + 2 * 8  # behind the number and the sizes of dimensions
    kind = struct.pack("<I", GGMLQuantizationType.I32)
    path.write_bytes(data[:at] + kind + data[at + 4 :])
    return path


PICKLE = b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94K\x01a."  # of the list [1]
HEADER = b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0)
KEYS = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
ARRAY = KEYS + struct.pack("<IIQ", GGUFValueType.ARRAY, GGUFValueType.STRING, 1 << 60)
CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a truncated GGUF": (cut, "cut off"),
    "a wrong magic": (content("m.gguf", b"GGML" + bytes(100)), "does not begin with 'GGUF'"),
    "2^60 tensors": (content("m.gguf", HEADER), "claims 1,152,921,504,606,846,976 tensors"),
    "2^60 texts": (content("m.gguf", ARRAY), "elements of an array"),
    "an empty file": (content("m.gguf", b""), "only 0 bytes"),
    "an unknown architecture": (gguf(architecture="mamba"), "recurrent state.*gemma2, gemma3"),
    "no tokenizer": (gguf(metadata={"tokenizer.ggml.model": "none"}), "tokenizer of the kind"),
    "tokens without rows": (
        gguf(metadata={"tokenizer.ggml.tokens": [str(n) for n in range(900)]}),
        "900 tokens for an embedding",
    ),
    "weights that are no numbers": (not_a_number, "not finite"),
    "a scale that is no number": (gguf(metadata={"llama.rope.freq_base": -1.0}), "wrong base"),
    "an epsilon that is no number": (
        gguf(metadata={"llama.attention.layer_norm_rms_epsilon": float("nan")}),
        "an epsilon in its metadata is no number",
    ),
    "weights of integers": (of_integers, "'token_embd.weight' is of the type I32"),
    "a pipe": (pipe("m.gguf"), "m.gguf is no regular file"),
    "a device": (lambda folder: Path("/dev/zero"), "/dev/zero is no regular file"),
    "a pipe in a folder": (pipe("config.json", "llama"), "beside a decoder.s lies config.json"),
    "a pickle": (content("model.bin", PICKLE), "pickle, .* never opened"),
    "a pickle that is called a GGUF": (content("m.gguf", PICKLE), "is a pickle"),
    "an archive with a name that leads out": (archive, "is an archive"),
    "one file of safetensors": (content("a.safetensors", b""), "the folder with its config.json"),
    "one file of ONNX": (content("a.onnx", b""), "the folder with its genai_config.json"),
    "a pickle in a folder": (folder_with("model.safetensors", None), "No model is there"),
    "safetensors that are cut off": (
        folder_with("model.safetensors", bytes(7)),
        "model.safetensors: ",
    ),
    "safetensors that are no numbers": (safetensors_not_a_number, "not finite"),
    "a folder without a tokenizer": (folder_with("tokenizer.json", None), "no tokenizer.json"),
    "a config of 100 MB": (folder_with("config.json", b" " * 100_000_000), "larger than 64 MB"),
    "a config that is nested deeply": (folder_with("config.json", deep(100_000)), "config.json"),
    "a tokenizer that is nested deeply": (
        folder_with("tokenizer.json", deep(500)),
        "tokenizer.json cannot be read",
    ),
    "a config that is no object": (folder_with("config.json", b"[]"), "holds no object"),
    "a config without a family": (folder_with("config.json", b"{}"), "lacks 'model_type'"),
    "a graph with weights outside": (onnx_folder(location="../w"), "outside the folder"),
    "a graph with weights at a path": (onnx_folder(location="/etc/passwd"), "outside the folder"),
    "a graph without its weights": (onnx_folder(location="w.data"), "w.data, which is missing"),
    "an operator of someone else": (
        onnx_folder(helper.make_node("Run", [], ["x"], domain="evil.ops")),
        "the operator Run of 'evil.ops'",
    ),
    "such an operator in a branch": (onnx_folder(branching("evil.ops")), "operator Hidden"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_why_and_nothing_is_left(case: str, tmp_path: Path) -> None:
    make, message = CASES[case]
    (tmp_path / "given").mkdir()
    home = Home(tmp_path / "home")
    path = make(tmp_path / "given")
    with pytest.raises(CacheError, match=message) as raised:
        import_path(path, home)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    assert ModelCache(home).scan() == []
    assert not list(home.downloads.glob("*"))
    assert not [each for each in home.models.rglob("*") if each.is_file()]


def test_the_process_reports_it_as_a_failure(tmp_path: Path) -> None:
    path = cut(tmp_path)
    result = run(ImportJob(str(tmp_path / "home"), str(path)))
    assert isinstance(result, InstallFailed)
    assert "cut off" in result.message


def test_a_name_that_is_none(tmp_path: Path) -> None:
    file = TinyModel().write(tmp_path / "tiny.gguf")
    result = run(ImportJob(str(tmp_path / "home"), str(file), "../evil"))
    assert isinstance(result, InstallFailed)
    assert result.message.startswith("'../evil' cannot be a model's name")
    assert not (tmp_path / "home").exists()
