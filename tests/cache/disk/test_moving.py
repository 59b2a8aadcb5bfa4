"""Models move whole, or stay where they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cupola.cache.disk.moving import move
from cupola.cache.errors import CacheError, NoSpaceError
from cupola.cache.home import Home
from tests.cache.disk.made_models import made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames between folders fail, as they do between disks."""
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)


def moved(home: Home, new: Path, *folders: Path) -> None:
    done: list[Path] = []
    move(folders, home.models, new, done.append)
    assert done == [new / folder.relative_to(home.models) for folder in folders]


def test_models_move(home: Home, tmp_path: Path) -> None:
    moved(home, tmp_path / "new", made(home, "a"), made(home, "b"))
    assert (tmp_path / "new" / "maker" / "a-1" / "model.onnx").stat().st_size == 1000
    assert list(home.models.iterdir()) == []


@pytest.mark.usefixtures("other_disk")
def test_models_move_to_another_disk(home: Home, tmp_path: Path) -> None:
    folder = made(home, "a", digests=True)
    moved(home, tmp_path / "new", folder)
    assert {path.name for path in (tmp_path / "new" / "maker").iterdir()} == {"a-1"}
    assert not folder.exists()


@pytest.mark.usefixtures("other_disk")
def test_a_link_stays_a_link(home: Home, tmp_path: Path) -> None:
    real = made(Home(tmp_path / "elsewhere"), "a")
    home.models.mkdir(parents=True)
    (home.models / "a").symlink_to(real, target_is_directory=True)
    moved(home, tmp_path / "new", home.models / "a")
    assert (tmp_path / "new" / "a").is_symlink() and (real / "model.onnx").exists()


@pytest.mark.usefixtures("other_disk")
def test_a_damaged_model_stays(home: Home, tmp_path: Path) -> None:
    folder = made(home, "a", digests=True)
    (folder / "model.onnx").write_bytes(bytes([1]) * 1000)
    with pytest.raises(CacheError, match="is not moved"):
        moved(home, tmp_path / "new", folder)
    assert folder.exists() and list((tmp_path / "new" / "maker").iterdir()) == []


def test_one_that_is_there_is_not_replaced(home: Home, tmp_path: Path) -> None:
    folder = made(home, "a")
    (tmp_path / "new" / "maker" / "a-1").mkdir(parents=True)
    move([folder], home.models, tmp_path / "new")
    assert folder.exists()


def test_a_disk_without_room(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(home, "a")
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Free())
    with pytest.raises(NoSpaceError):
        move([folder], home.models, shm)
    assert folder.exists()


class _Free:
    free = 10
