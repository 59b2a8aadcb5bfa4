"""Adapters that a hub has, with bases from this disk and from the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.cache.errors import CacheError
from cupola.cache.home import Home
from cupola.cache.install.__main__ import run
from cupola.cache.install.import_adapter import import_adapter, install_adapter
from cupola.cache.install.messages import DownloadJob, Installed
from cupola.cache.store import ModelCache
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.tiny_adapter import write_adapter
from tests.hub_server import HubServer

pytestmark = pytest.mark.slow

ADAPTER, BASE = "hf:Tiny-Org/Tiny-Pirate", "hf:Tiny-Org/Tiny-Base-GGUF"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def there(hub: HubServer, tmp_path: Path) -> HubServer:
    """A hub that has an adapter and its base."""
    write_adapter(tmp_path / "adapter", FAMILIES["llama"].tensors())
    files = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    hub.add("Tiny-Org/Tiny-Pirate", files | {"README.md": b"#", "adapter_model.bin": b"never"})
    base = FAMILIES["llama"].write_gguf(tmp_path / "base.gguf").read_bytes()
    hub.add("Tiny-Org/Tiny-Base-GGUF", {"tiny-q8_0.gguf": base})
    return hub


def test_both_are_of_the_hub(there: HubServer, home: Home, tmp_path: Path) -> None:
    result = run(DownloadJob(str(home.root), ADAPTER, base=BASE))
    assert isinstance(result, Installed), result
    assert result.model_id == "tiny-pirate-generic-cpu:1"
    assert not [path for path, _ in there.site.requests if "README" in path or ".bin" in path]
    assert not list(home.downloads.glob("partial-*/"))
    local = import_adapter(tmp_path / "adapter", str(tmp_path / "base.gguf"), home, "local")
    weights = [(path / "model.onnx.data").read_bytes() for path in (Path(result.path), local.path)]
    assert weights[0] == weights[1]
    again = run(DownloadJob(str(home.root), ADAPTER, base=BASE))
    assert isinstance(again, Installed) and again.path == result.path


def test_the_base_is_a_model_that_came_from_the_hub(there: HubServer, home: Home) -> None:
    assert isinstance(run(DownloadJob(str(home.root), BASE)), Installed)
    [base] = ModelCache(home).scan()
    result = run(DownloadJob(str(home.root), ADAPTER, alias="mine", base=base.variant.alias))
    assert isinstance(result, Installed), result
    assert "with an adapter" in ModelCache(home).find("mine").variant.display_name


def test_what_is_no_adapter_leaves_nothing(there: HubServer, home: Home) -> None:
    for address, base in ((BASE, BASE), (ADAPTER, ADAPTER), (ADAPTER, "hf:Tiny-Org/None")):
        result = run(DownloadJob(str(home.root), address, base=base))
        assert not isinstance(result, Installed), address
    assert ModelCache(home).scan() == []


def test_it_is_taken_from_no_other_place(home: Home) -> None:
    with pytest.raises(CacheError, match=r"taken from hf:OWNER/NAME or from this disk"):
        install_adapter("https://models.example.org/a.gguf", BASE, home)
