"""How much room models take, when they were used, and which of them go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.disk import uses
from cupola.cache.disk.leftovers import leftover_bytes, remove_leftovers
from cupola.cache.disk.pruning import to_prune
from cupola.cache.disk.usage import ModelUsage, disk_usage, folder_bytes
from cupola.cache.home import Home
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache
from cupola.cache.system import locks
from tests.cache.disk.made_models import derived, made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_derived_weights_count_with_their_model(home: Home) -> None:
    first, _ = made(home, "a", 20_000), made(home, "b", 30_000)
    derived(home, first, 50_000)
    usage = disk_usage(home)
    found = {each.model.variant.id: (each.size // 10_000, each.derived) for each in usage.models}
    assert found == {"a:1": (2, 50_002), "b:1": (3, 0)}
    assert usage.derived == 50_002 and usage.unfinished == 0 and usage.free > 0


def test_an_empty_home(home: Home) -> None:
    usage = disk_usage(home)
    assert (usage.size, usage.derived, usage.unfinished) == (0, 0, 0)


def test_files_with_two_names_count_once_and_holes_do_not(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes([1]) * 100_000)
    os.link(tmp_path / "one", tmp_path / "two")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(10**9)
    assert 100_000 <= folder_bytes(tmp_path) < 10**7


def test_a_use_is_the_last_time_in_memory(home: Home) -> None:
    path = made(home, "a")
    os.utime(path / "inference_model.json", (1000, 1000))
    assert disk_usage(home).models[0].used_at == 1000
    uses.note_use(home, path)
    assert disk_usage(home).models[0].used_at > 1000
    uses.forget(home, path)
    assert disk_usage(home).models[0].used_at == 1000


def test_a_use_of_a_model_elsewhere_is_not_noted(home: Home, tmp_path: Path) -> None:
    uses.note_use(home, tmp_path / "elsewhere")
    assert uses.used_at(home, tmp_path / "elsewhere") == 0
    assert not home.uses.exists()


def used(name: str, size: int, at: float) -> ModelUsage:
    variant = msgspec.structs.replace(SMOLLM2_135M, id=name)
    return ModelUsage(CachedModel(variant, Path(name)), size, size // 10, at)


@pytest.mark.parametrize(
    ("since", "most", "kept", "gone"),
    [
        (None, None, (), ""),
        (2.5, None, (), "ab"),
        (2.5, None, "a", "b"),
        (None, 660, (), ""),
        (None, 659, (), "a"),
        (None, 440, (), "ab"),
        (None, 330, "a", "bc"),
        (None, 0, (), "abc"),
        (1.5, 330, (), "ab"),
        (100, None, "abc", ""),
    ],
)
def test_age_and_room(since: float | None, most: int | None, kept: str, gone: str) -> None:
    models = [used("b", 200, 2), used("c", 300, 3), used("a", 100, 1)]
    found = to_prune(models, kept=tuple(kept), unused_since=since, most_bytes=most)
    assert "".join(each.model.variant.id for each in found) == gone


def test_leftovers_go_and_what_is_in_use_stays(home: Home) -> None:
    path = made(home, "a")
    derived(home, path)
    shutil.rmtree(path)
    for name in ("old", "busy"):
        (home.downloads / f"partial-{name}").mkdir(parents=True)
        (home.downloads / f"partial-{name}" / "file.part").write_bytes(bytes([1]) * 5000)
    assert leftover_bytes(home) >= 10_502
    busy = locks.file_lock(home.downloads / "partial-busy.lock")
    assert locks.try_acquire(busy)
    with staging(home) as work:
        remove_leftovers(home)
        assert work.is_dir()
    assert [each.name for each in home.downloads.glob("*/")] == ["partial-busy"]
    assert not list(home.prepacked.rglob("weights.bin"))
    assert ModelCache(home).scan() == []
