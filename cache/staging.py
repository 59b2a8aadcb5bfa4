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

from cupola.cache.home import Home
from cupola.cache.locks import FileLock

_PREFIX = "work-"
_LOCK = ".lock"
_REPLACED = ".replaced"


@contextmanager
def staging(home: Home) -> Iterator[Path]:
    """A new, empty folder on the models' file system, deleted at the end with what is in it."""
    clean(home)
    lock = _claim(home)
    folder = lock.path.with_suffix("")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.delete()


def clean(home: Home) -> None:
    """Deletes what processes have left that were killed; touches nothing of those that live."""
    for path in home.downloads.glob(f"{_PREFIX}*{_LOCK}"):
        lock = FileLock(path)
        if lock.try_acquire():
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            lock.delete()
    for old in home.models.glob(f"*/*{_REPLACED}"):
        if old.with_name(old.name.removesuffix(_REPLACED)).exists():
            shutil.rmtree(old, ignore_errors=True)


def replaced_name(place: Path) -> Path:
    """Where a model's folder is for the moment in which another takes its place.

    A scan finds it there, but prefers ``place``, which comes first in its order.
    """
    return place.with_name(place.name + _REPLACED)


def _claim(home: Home) -> FileLock:
    """The held lock of a name that nobody else uses."""
    while True:
        lock = FileLock(home.downloads / f"{_PREFIX}{secrets.token_hex(8)}{_LOCK}")
        # Between its creation and its locking the file looks like a leftover: somebody who is
        # cleaning may hold it, or may have deleted it.
        if lock.try_acquire():
            if lock.is_current():
                return lock
            lock.release()
