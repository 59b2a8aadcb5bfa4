import subprocess
import sys
from pathlib import Path

import pytest

from cupola.cache.home import Home
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


def test_what_a_killed_owner_left_is_deleted(tmp_path: Path) -> None:
    home = Home(tmp_path)
    code = f"""
import os, pathlib
from cupola.cache.home import Home
from cupola.cache.staging import staging
with staging(Home(pathlib.Path({str(tmp_path)!r}))) as folder:
    (folder / "file").touch()
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list(home.downloads.iterdir())) == 2
    clean(home)
    assert list(home.downloads.iterdir()) == []
