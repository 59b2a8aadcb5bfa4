"""Which models' folders have gone since they were loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.folder_watch import FolderWatch


def model(path: Path) -> LocalModel:
    return LocalModel(path.name, str(path), ExecutionProvider.CPU)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(folder: Path) -> FolderWatch:
    watch = FolderWatch()
    watch.loads(model(folder))
    assert watch.changed() == []
    return watch


def test_a_deleted_folder_is_told_once(watch: FolderWatch, folder: Path) -> None:
    folder.rmdir()
    assert watch.changed() == ["m"]
    assert watch.changed() == []


def test_a_folder_in_the_place_of_another_is_another(watch: FolderWatch, folder: Path) -> None:
    new = folder.with_name("new")
    new.mkdir()
    folder.rename(folder.with_name("old"))  # so that the file system cannot give its number again
    new.rename(folder)
    assert watch.changed() == ["m"]
    watch.loads(model(folder))
    assert watch.changed() == []


def test_changes_inside_a_folder_are_none(watch: FolderWatch, folder: Path) -> None:
    (folder / "file").touch()
    assert watch.changed() == []


def test_a_link_to_another_disk_counts_as_what_it_leads_to(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder, target_is_directory=True)
    watch = FolderWatch()
    watch.loads(model(link))
    link.unlink()
    assert watch.changed() == ["link"]


def test_a_model_without_a_folder_is_never_told(tmp_path: Path) -> None:
    watch = FolderWatch()
    watch.loads(model(tmp_path / "none"))
    (tmp_path / "none").mkdir()
    assert watch.changed() == []
    shutil.rmtree(tmp_path / "none")
    assert watch.changed() == []
