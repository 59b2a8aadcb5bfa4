"""The folders with weights that workers map: how large they are, and which may go.

An entry belongs to one model and is made anew whenever it is missed, so any entry may be deleted at
any time. A process that maps it keeps it until it ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cupola.cache.home import Home

MANIFEST = "files.json"  # of an entry; written last, and touched whenever the entry is mapped
LOST = "lost"  # of an entry that made nothing faster: all that is left of it
UNUSED_SECONDS = 30 * 24 * 3600  # after which an entry goes
_SHARE_OF_DISK = 4  # one part of so many, where no limit is set


@dataclass(frozen=True, slots=True)
class PrepackedEntry:
    path: Path
    model: Path  # the folder of its model, which may have gone
    size: int  # bytes
    used_at: float  # Unix seconds; 0: it is not complete


def entries(home: Home) -> list[PrepackedEntry]:
    """All entries, whole or not."""
    found = []
    for folder, _, files in os.walk(home.prepacked):
        path = Path(folder)
        if not files or path == home.prepacked:
            continue
        size, used_at = 0, 0.0
        for name in files:
            with suppress(OSError):  # another process deletes it
                state = (path / name).stat()
                size += state.st_size
                used_at = state.st_mtime if name in (MANIFEST, LOST) else used_at
        model = home.models / path.parent.relative_to(home.prepacked)
        found.append(PrepackedEntry(path, model, size, used_at))
    return found


def surplus(
    found: Iterable[PrepackedEntry], limit: int, now: float, room: int = 0
) -> list[PrepackedEntry]:
    """The entries that were unused for long, and those above ``limit`` bytes, unused longest first.

    ``room``: bytes that are about to be written. Pure.
    """
    kept = sorted(found, key=lambda entry: entry.used_at)
    gone = [entry for entry in kept if entry.used_at < now - UNUSED_SECONDS]
    kept = kept[len(gone) :]
    size = room + sum(entry.size for entry in kept)
    for entry in kept:
        if size <= limit:
            break
        size -= entry.size
        gone.append(entry)
    return gone


def tidy(home: Home, limit: int, now: float, room: int = 0) -> None:
    """Delete the entries whose models have gone, and the surplus. Leaves what cannot be deleted."""
    found = entries(home)
    lost = [entry for entry in found if not entry.model.is_dir()]
    rest = [entry for entry in found if entry not in lost]
    for entry in (*lost, *surplus(rest, limit, now, room)):
        delete(entry, home)


def delete(entry: PrepackedEntry, home: Home) -> None:
    """Delete an entry and the folders that are empty without it."""
    shutil.rmtree(entry.path, ignore_errors=True)
    for parent in entry.path.parents:
        if parent == home.prepacked:
            break
        with suppress(OSError):  # it has other entries
            parent.rmdir()


def limit_bytes(home: Home, megabytes: int) -> int:
    """The setting in bytes. 0 means a quarter of the disk."""
    if megabytes:
        return megabytes * 1_000_000
    folder = next(path for path in (home.models, *home.models.parents) if path.exists())
    return shutil.disk_usage(folder).total // _SHARE_OF_DISK


def note_use(entry: Path) -> None:
    """The entry is mapped now."""
    with suppress(OSError):  # a disk that is only read
        os.utime(entry / MANIFEST)
