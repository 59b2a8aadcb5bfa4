"""Which derived weights are kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cupola.cache.disk.prepacked_entries import (
    UNUSED_SECONDS,
    PrepackedEntry,
    entries,
    limit_bytes,
    note_use,
    surplus,
    tidy,
)
from cupola.cache.home import Home
from tests.cache.disk.made_models import derived, made

NOW = 1_000_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def entry(name: str, size: int, ago: float) -> PrepackedEntry:
    return PrepackedEntry(Path("/p") / name, Path("/m"), size, NOW - ago)


@pytest.mark.parametrize(
    ("limit", "room", "gone"),
    [
        (60, 0, ["ancient"]),
        (59, 0, ["ancient", "old"]),
        (50, 0, ["ancient", "old"]),
        (49, 0, ["ancient", "old", "newer"]),
        (60, 1, ["ancient", "old"]),
        (0, 0, ["ancient", "old", "newer", "newest"]),
    ],
)
def test_the_longest_unused_go_first(limit: int, room: int, gone: list[str]) -> None:
    found = [
        entry("newest", 30, 1),
        entry("old", 10, 3),
        entry("ancient", 1, UNUSED_SECONDS + 1),
        entry("newer", 20, 2),
    ]
    assert [each.path.name for each in surplus(found, limit, NOW, room)] == gone


def test_entries_of_the_disk(home: Home) -> None:
    model = made(home, "a")
    path = derived(home, model, 500)
    os.utime(path / "files.json", (NOW, NOW))
    (home.prepacked / ".lock").touch()
    [found] = entries(home)
    assert found == PrepackedEntry(path, model, 502, NOW)
    note_use(path)
    [found] = entries(home)
    assert found.used_at > NOW


def test_what_is_not_complete_or_has_no_model_goes(home: Home) -> None:
    kept = derived(home, made(home, "kept"))
    torn = derived(home, made(home, "torn"))
    (torn / "files.json").unlink()
    gone = made(home, "gone")
    derived(home, gone)
    shutil.rmtree(gone)
    tidy(home, 10**9, os.stat(kept / "files.json").st_mtime)
    assert [each.path for each in entries(home)] == [kept]
    assert not torn.parent.exists()  # no empty folders are left


def test_a_limit_of_0_is_a_quarter_of_the_disk(home: Home) -> None:
    assert limit_bytes(home, 3) == 3_000_000
    home.root.mkdir(parents=True)
    assert limit_bytes(home, 0) == shutil.disk_usage(home.root).total // 4
