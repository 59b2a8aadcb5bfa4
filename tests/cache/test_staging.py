from pathlib import Path

import pytest

from cupola.cache.home import Home
from cupola.cache.locks import FileLock
from cupola.cache.staging import clean, staging


def test_nothing_is_left(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with staging(home) as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        assert folder.parent == home.downloads
    assert list(home.downloads.iterdir()) == []


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ZeroDivisionError), staging(home) as folder:
        (folder / "file").touch()
        raise ZeroDivisionError
    assert list(home.downloads.iterdir()) == []


def test_folders_in_use_and_strangers_are_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with staging(home) as first, staging(home) as second:
        (home.downloads / "notes.txt").touch()
        clean(home)
        assert first.is_dir()
        assert second.is_dir()
    assert [path.name for path in home.downloads.iterdir()] == ["notes.txt"]


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    with FileLock(path) as lock:
        assert lock.is_current()
        assert not FileLock(path).try_acquire()
        with pytest.raises(RuntimeError, match="locked by this object"):
            lock.acquire()
        path.unlink()
        assert not lock.is_current()
    second = FileLock(path)
    assert second.try_acquire()
    second.release()
