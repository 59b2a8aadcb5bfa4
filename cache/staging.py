"""Folders for work in progress: nothing in them is seen as a model, and none is left behind.

Each has a lock file beside it, which its owner holds. An owner that is killed leaves both. The next
process that needs such a folder finds the lock free and deletes them.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cupola.cache.home import Home
from cupola.cache.system import locks

if TYPE_CHECKING:
    from filelock import FileLock

_PREFIX = "work-"
_LOCK = ".lock"
_REPLACED = ".replaced"


@contextmanager
def staging(home: Home) -> Iterator[Path]:
    """A new, empty folder on the models' file system, deleted at the end with what is in it."""
    clean(home)
    folder, lock = _claim(home)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        locks.delete(lock)


def clean(home: Home) -> None:
    """Deletes the folders of dead owners. Those of living owners stay."""
    for path in home.downloads.glob(f"{_PREFIX}*{_LOCK}"):
        lock = locks.file_lock(path)
        if locks.try_acquire(lock):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            locks.delete(lock)
    for old in home.models.glob(f"*/*{_REPLACED}"):
        if old.with_name(old.name.removesuffix(_REPLACED)).exists():
            shutil.rmtree(old, ignore_errors=True)


def replaced_name(place: Path) -> Path:
    """Where a model's folder is for the moment in which another takes its place.

    A scan finds it there, but prefers ``place``, which comes first in its order.
    """
    return place.with_name(place.name + _REPLACED)


def _claim(home: Home) -> tuple[Path, FileLock]:
    """A folder that nobody else uses, still to be made, and its lock, which is held."""
    while True:
        folder = home.downloads / f"{_PREFIX}{secrets.token_hex(8)}"
        lock = locks.file_lock(folder.with_suffix(_LOCK))
        # Before it is locked the file looks like a leftover. A process that cleans may hold it, or
        # may have deleted it; then another name is as good.
        if locks.try_acquire(lock):
            return folder, lock
