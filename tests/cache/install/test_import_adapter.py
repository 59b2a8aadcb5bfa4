"""An adapter and its base become a model of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cupola.cache.errors import CacheError, NoSpaceError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.__main__ import run
from cupola.cache.install.import_adapter import import_adapter
from cupola.cache.install.import_path import import_path
from cupola.cache.install.messages import ImportJob, Installed
from cupola.cache.store import ModelCache
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.tiny_adapter import write_adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "my-adapter", FAMILIES["llama"].tensors())
    return tmp_path / "my-adapter"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_model_beside_its_base(adapter: Path, home: Home, tmp_path: Path) -> None:
    base = FAMILIES["llama"].write_gguf(tmp_path / "base.gguf")
    import_path(base, home, "base")
    result = run(ImportJob(str(home.root), str(adapter), "pirate", base=str(base)))
    assert isinstance(result, Installed)
    assert result.model_id == "pirate-generic-cpu:1"
    assert {model.variant.alias for model in ModelCache(home).scan()} == {"base", "pirate"}
    assert "with an adapter" in ModelCache(home).find("pirate").variant.display_name


def test_the_same_again_is_there_at_once_and_another_is_the_next_version(
    adapter: Path, home: Home, tmp_path: Path
) -> None:
    base = str(FAMILIES["llama"].write_folder(tmp_path / "base").parent)
    first = import_adapter(adapter, base, home)
    stages: list[str] = []
    again = import_adapter(adapter, base, home, None, lambda stage, *_: stages.append(stage))
    assert again.path == first.path
    assert "convert" not in stages
    assert first.variant.alias == "my-adapter"
    write_adapter(tmp_path / "other", FAMILIES["llama"].tensors(), strength=0.1)
    second = import_adapter(tmp_path / "other", base, home, "my-adapter")
    assert second.variant.id == "my-adapter-generic-cpu:2"


def test_what_is_said_of_a_missing_base(adapter: Path, home: Home, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is an adapter\. Name its model: --base"):
        import_path(adapter, home)
    base = FAMILIES["llama"].write_gguf(tmp_path / "base.gguf")
    import_path(base, home, "base")
    with pytest.raises(UnsupportedError, match=r"not known what file .* --base FILE\.gguf"):
        import_adapter(adapter, "base", home)


def test_what_is_no_adapter_and_an_adapter_for_another_model_leave_nothing(
    adapter: Path, home: Home, tmp_path: Path
) -> None:
    other = str(FAMILIES["phi4-mini"].write_folder(tmp_path / "other").parent)
    for given, message in ((tmp_path, "is no adapter: neither"), (adapter, "for another model")):
        with pytest.raises(CacheError, match=message):
            import_adapter(given, other, home)
    assert ModelCache(home).scan() == []
    assert not [each for each in home.models.rglob("*") if each.is_file()]


def test_a_folder_without_weights_is_told_by_the_file(
    adapter: Path, home: Home, tmp_path: Path
) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    base = FAMILIES["llama"].write_gguf(tmp_path / "base.gguf")
    with pytest.raises(CacheError, match=r"adapter_model\.safetensors is missing in"):
        import_adapter(adapter, str(base), home)


def test_a_full_disk_is_seen_before_the_base_is_fetched(
    adapter: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(NoSpaceError, match="MB free"):
        import_adapter(adapter, "smollm2-135m", home)
