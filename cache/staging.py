"""Folders for work in progress: nothing in them is seen as a model, and none is left behind.

Each has a lock file beside it, which its owner holds. An owner that is killed leaves both; the
next one to need such a folder finds the lock free and clears them away.
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
    """Deletes what owners that are dead have left; touches nothing of those that live."""
    for path in home.downloads.glob(f"{_PREFIX}*{_LOCK}"):
        lock = FileLock(path)
        if lock.try_acquire():
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            lock.delete()


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
