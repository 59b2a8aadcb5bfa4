"""What onnxruntime-genai's builder is asked, and what is made of its answer."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.errors import NoMemoryError, UnknownFamilyError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install import model_builder
from cupola.cache.install.import_path import import_path
from cupola.cache.install.model_builder import build, need_memory_of_builder
from cupola.cache.precision import Precision
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.convert.tiny_gguf import TinyModel

# A builder that writes down what it is asked, and "reads" two layers.
BUILDER = """\
import json, os, sys
given = sys.argv[1:]
print("Reading embedding layer")
for layer in range(2):
    print("Reading layer", layer)
target = given[given.index("-o") + 1]
os.mkdir(target)
asked = {"arguments": given, "offline": os.environ["HF_HUB_OFFLINE"], "path": sys.path}
json.dump(asked, open(target + "/asked.json", "w"))
"""
FAILING = "print('Reading layer 0'); raise SystemExit('NotImplementedError: Wonder is not known')"


def test_it_is_asked_for_the_folder_without_network_or_foreign_code(tmp_path: Path) -> None:
    (tmp_path / "builder.py").write_text(BUILDER)
    stages: list[tuple[str, int, int | None]] = []
    build(
        tmp_path / "source", tmp_path / "built", Precision.INT4, 2,
        lambda *report: stages.append(report),
        [sys.executable, str(tmp_path / "builder.py")],
    )  # fmt: skip
    asked = json.loads((tmp_path / "built" / "asked.json").read_text())
    given = dict(zip(asked["arguments"][:-3:2], asked["arguments"][1:-3:2], strict=True))
    assert given["-i"] == str(tmp_path / "source")
    assert (given["-p"], given["-e"]) == ("int4", "cpu")
    assert asked["arguments"][-3:] == ["--extra_options", "hf_remote=false", "hf_token=false"]
    assert asked["offline"] == "1"
    assert stages == [("convert", 0, 2), ("convert", 1, 2), ("convert", 2, 2)]


def test_its_last_words_are_the_error(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"cannot convert the model: .*Wonder is not known"):
        build(
            tmp_path, tmp_path / "built", Precision.INT4, 0, lambda *_: None,
            [sys.executable, "-c", FAILING],
        )  # fmt: skip


def test_it_ends_with_the_import(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print('Reading layer 0', flush=True)\n"
        "time.sleep(600)"
    )

    def stop(stage: str, done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(
            tmp_path, tmp_path / "built", Precision.INT4, 0, stop,
            [sys.executable, "-c", program],
        )  # fmt: skip
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def unknown_family(folder: Path) -> Path:
    config = FAMILIES["llama"].write_folder(folder / "model")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "nemotron"}))
    return config.parent


def test_an_unknown_family_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_builder, "missing", lambda: ["torch"])
    with pytest.raises(UnsupportedError, match=r"'nemotron'.*pip install 'cupola\[convert\]'"):
        import_path(unknown_family(tmp_path), Home(tmp_path / "home"))


@pytest.mark.parametrize(
    ("family", "why"),
    [("olmo", "its norms have no weights"), ("phimoe", "it is a mixture of experts")],
)
def test_what_the_builder_makes_wrong_or_not_is_refused(
    family: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_builder, "missing", list)
    folder = unknown_family(tmp_path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("nemotron", family))
    with pytest.raises(UnknownFamilyError, match=why):
        import_path(folder, Home(tmp_path / "home"))


@pytest.mark.parametrize(
    ("changes", "precision", "why"),
    [
        (
            {"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"]},
            None,
            r"Mamba-2, which .* does not make",
        ),
        (
            {"model_type": "gpt_oss"},
            Precision.FP16,
            r"leaves out gpt-oss' attention sinks.*four bits",
        ),
    ],
)
def test_what_the_builder_does_not_know_of_a_family_is_named(
    changes: dict[str, Any],
    precision: Precision | None,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_builder, "missing", list)
    folder = unknown_family(tmp_path)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(UnsupportedError, match=why):
        import_path(folder, Home(tmp_path / "home"), precision=precision)


def test_what_the_builder_makes_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = tmp_path / "built"
    built.mkdir()
    (built / "genai_config.json").write_text(
        json.dumps({"model": {"type": "nemotron", "context_length": 8, "decoder": {}}})
    )
    for name in ("tokenizer.json", "model.onnx"):
        (built / name).write_bytes(b"{}" if name.endswith("json") else b"")
    module = tmp_path / "stub" / "onnxruntime_genai" / "models"
    module.mkdir(parents=True)
    copying = (
        f"import shutil, sys\nshutil.copytree({str(built)!r}, sys.argv[sys.argv.index('-o') + 1])"
    )
    for package in (module, module.parent):
        (package / "__init__.py").touch()
    (module / "builder.py").write_text(copying)
    monkeypatch.setattr(model_builder, "missing", list)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"))
    model = import_path(unknown_family(tmp_path), Home(tmp_path / "home"), "wonder")
    assert model.variant.alias == "wonder"
    assert (model.path / "model.onnx").exists()


def test_too_large_for_the_builder() -> None:
    with pytest.raises(NoMemoryError, match=r"take 75\.0 GB .* as float32"):
        need_memory_of_builder("m", 30_000_000_000, memory=32_000_000_000)
    need_memory_of_builder("m", 10_000_000_000, memory=32_000_000_000)


def test_a_gguf_of_an_unknown_family_does_not_go_there(tmp_path: Path) -> None:
    path = TinyModel(architecture="nemotron").write(tmp_path / "m.gguf")
    with pytest.raises(UnknownFamilyError, match="'nemotron'") as raised:
        import_path(path, Home(tmp_path / "home"))
    assert "convert]" not in str(raised.value)
