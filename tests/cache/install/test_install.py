"""Fetch, convert and put in place; with another process beside, and with one that dies."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import onnx
import pytest

from cupola.cache.catalog import BUILT_IN, Catalog, ModelVariant, WheelSource
from cupola.cache.errors import BrokenFileError, CacheError, FetchError, NoSpaceError
from cupola.cache.home import Home
from cupola.cache.install.install import import_gguf, install
from cupola.cache.precision import Precision
from cupola.cache.staging import clean, staging
from cupola.cache.store import ModelCache
from tests.cache.convert.tiny_gguf import TinyModel
from tests.cache.install.tiny_wheel import MEMBER, SOURCE, write_wheel

# Imports the file argv[2] into the home argv[1]; at the stage and amount that argv[3:] names it
# says so and waits for a line.
IMPORTER = """
import sys
from pathlib import Path
from cupola.cache.home import Home
from cupola.cache.install.install import import_gguf

stages = []

def progress(stage, done, total):
    if stage not in stages:
        stages.append(stage)
    if stage == sys.argv[3] and done >= int(sys.argv[4]):
        print("stopped", flush=True)
        sys.stdin.readline()
        sys.argv[3] = ""

model = import_gguf(Path(sys.argv[2]), Home(Path(sys.argv[1])), "tiny", progress)
print(model.variant.id, *stages)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return TinyModel().write(tmp_path / "Tiny-Model.Q8_0.gguf")


@pytest.fixture
def variant(index: Path, gguf: Path) -> ModelVariant:
    """A model of a catalog whose index is a folder."""
    write_wheel(index, gguf.read_bytes())
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    return ModelVariant(
        id="tiny-generic-cpu:1",
        alias="tiny",
        display_name="Tiny",
        publisher="Tests",
        license="mit",
        file_size_mb=1,
        source=WheelSource(SOURCE.requirement, MEMBER, digest),
    )


def start_importer(home: Home, gguf: Path, stage: str, done: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTER, str(home.root), str(gguf), stage, str(done)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def stopped(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"


def test_install(home: Home, variant: ModelVariant) -> None:
    stages = []
    model = install(variant, home, lambda stage, done, total: stages.append(stage))
    assert model.path == home.models / "Tests" / "tiny-generic-cpu-1"
    assert sorted(path.name for path in model.path.iterdir()) == [
        "chat_template.jinja",
        "cupola-digests.json",
        "genai_config.json",
        "inference_model.json",
        "model.onnx",
        "model.onnx.data",
        "quality.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert list(dict.fromkeys(stages)) == ["wait", "download", "check", "convert"]
    assert list(home.downloads.iterdir()) == []
    assert ModelCache(home).find("tiny") == model
    described = json.loads((model.path / "inference_model.json").read_text())
    assert described["Name"] == "tiny-generic-cpu:1"
    assert described["PromptTemplate"]["prompt"].startswith("<|im_start|>user\n{Content}")


def test_a_variant_is_converted_in_its_own_precision(home: Home, variant: ModelVariant) -> None:
    default = install(variant, home)
    integers = msgspec.structs.replace(variant, id="tiny-w8a8-cpu:1", precision=Precision.W8A8)
    model = install(integers, home)
    operators = {
        found.path: {node.op_type for node in onnx.load(found.path / "model.onnx").graph.node}
        for found in (default, model)
    }
    assert "MatMulIntegerToFloat" in operators[model.path]
    assert "MatMulIntegerToFloat" not in operators[default.path]
    best = Catalog([default.variant, model.variant]).find("tiny")[0]
    assert ModelCache(home).find("tiny").variant == best  # both are on the disk
    assert ModelCache(home).find("tiny-w8a8-cpu:1") == model


def test_offline_with_a_full_cache(
    home: Home, variant: ModelVariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = install(variant, home)
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert install(variant, home) == model
    with pytest.raises(FetchError):
        install(msgspec.structs.replace(variant, id="tiny-generic-cpu:2"), home)


def test_a_folder_that_is_no_model_is_replaced(home: Home, variant: ModelVariant) -> None:
    place = home.model_folder(variant.publisher, variant.id)
    place.mkdir(parents=True)
    (place / "genai_config.json").write_text("{")
    assert install(variant, home).path == place


def test_another_programs_download_is_left_alone(home: Home, variant: ModelVariant) -> None:
    place = home.model_folder(variant.publisher, variant.id)
    place.mkdir(parents=True)
    (place / "download.tmp").touch()
    with pytest.raises(CacheError, match="by another program"):
        install(variant, home)
    assert (place / "download.tmp").exists()


def test_a_full_disk_is_seen_before(
    home: Home, variant: ModelVariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(NoSpaceError, match=r"MB needed.*MB free"):
        install(variant, home)


def test_a_model_without_a_source(home: Home, variant: ModelVariant) -> None:
    with pytest.raises(CacheError, match="no source"):
        install(msgspec.structs.replace(variant, source=None), home)


def test_an_import_is_called_what_it_calls_itself(home: Home, gguf: Path) -> None:
    model = import_gguf(gguf, home)
    assert model.variant.id == "tiny-model-generic-cpu:1"
    assert model.variant.alias == "tiny-model"
    assert model.variant.display_name == "Tiny Model"
    assert model.variant.publisher == "local"
    assert model.variant.context_length == 128
    assert gguf.exists()


def test_a_nameless_file_is_called_by_its_own_name(home: Home, tmp_path: Path) -> None:
    path = TinyModel(metadata={"general.name": ""}).write(tmp_path / "My Llama.Q4_K_M.gguf")
    assert import_gguf(path, home).variant.alias == "my-llama"


def test_imports_again_and_other_files_of_the_name(home: Home, gguf: Path, tmp_path: Path) -> None:
    first = import_gguf(gguf, home, "mine")
    assert import_gguf(gguf, home, "mine") == first
    other = TinyModel(seed=1).write(tmp_path / "other.gguf")
    second = import_gguf(other, home, "mine")
    assert (first.variant.id, second.variant.id) == ("mine-generic-cpu:1", "mine-generic-cpu:2")
    assert ModelCache(home).find("mine") == second


def test_an_alias_cannot_leave_the_folder(home: Home, gguf: Path) -> None:
    model = import_gguf(gguf, home, "../../Etc/pass wd")
    assert model.path.parent.parent == home.models
    assert model.variant.alias == "etc-pass-wd"


def test_a_broken_import_leaves_nothing(home: Home, gguf: Path) -> None:
    gguf.write_bytes(gguf.read_bytes()[:-1000])
    with pytest.raises(BrokenFileError, match="cut off"):
        import_gguf(gguf, home)
    assert ModelCache(home).scan() == []
    assert list(home.downloads.glob("*")) == []


def test_the_catalogs_own_file_becomes_that_model(real_model: Home) -> None:
    best = Catalog(BUILT_IN).find("smollm2-135m")[0]
    model = ModelCache(real_model).find(best.id)
    assert isinstance(best.source, WheelSource)
    assert model.source_sha256 == best.source.sha256
    assert model.path == real_model.model_folder(best.publisher, best.id)


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 200_000])  # in the first and the second pass
def test_a_killed_import_leaves_no_model(home: Home, gguf: Path, done: int) -> None:
    with start_importer(home, gguf, "convert", done) as process:
        stopped(process)
        (work,) = (path for path in home.downloads.iterdir() if path.is_dir())
        clean(home)  # another process starts: what belongs to a living one stays
        assert work.exists()
        process.kill()
    assert ModelCache(home).scan() == []
    assert work.exists()
    with staging(home):
        assert not work.exists()
    assert import_gguf(gguf, home, "tiny").variant.id == "tiny-generic-cpu:1"


@pytest.mark.slow
def test_of_two_processes_one_does_the_work(home: Home, gguf: Path) -> None:
    with start_importer(home, gguf, "convert", 1) as first:
        stopped(first)
        with start_importer(home, gguf, "wait", 0) as second:
            stopped(second)
            answers = []
            for process in (first, second):
                answers.append(process.communicate("go on\n")[0].split())
    assert answers[0] == ["tiny-generic-cpu:1", "check", "wait", "convert"]
    assert answers[1] == ["tiny-generic-cpu:1", "check", "wait"]


@pytest.mark.slow
def test_a_quick_start_loads_nothing_heavy() -> None:
    code = """
import sys, cupola.cache.install.install, cupola.cache.store
print(*{"numpy", "onnx", "onnxruntime", "gguf", "pydantic", "tokenizers"} & set(sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert said.stdout.strip() == ""
