"""What nobody will use again: downloads that have ended long ago, and what models have left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from cupola.cache import staging
from cupola.cache.disk.prepacked_entries import PrepackedEntry, delete, entries
from cupola.cache.disk.usage import folder_bytes
from cupola.cache.home import Home
from cupola.cache.system import locks


def leftover_bytes(home: Home) -> int:
    """How much ``remove_leftovers`` would free, about: a download may be in use."""
    work = sum(folder_bytes(folder) for folder in home.downloads.glob("*/"))
    return work + sum(entry.size for entry in _lost(home))


def remove_leftovers(home: Home) -> None:
    """Delete unfinished downloads on which nobody works, and entries of models that have gone."""
    staging.clean(home)
    for folder in _unfinished(home):
        lock = locks.file_lock(folder.with_suffix(".lock"))
        if locks.try_acquire(lock):
            shutil.rmtree(folder, ignore_errors=True)
            locks.delete(lock)
    for entry in _lost(home):
        delete(entry, home)


def _unfinished(home: Home) -> Iterator[Path]:
    yield from home.downloads.glob("partial-*/")


def _lost(home: Home) -> list[PrepackedEntry]:
    return [entry for entry in entries(home) if not entry.model.is_dir()]
