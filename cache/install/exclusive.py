"""One process does a piece of work; others that want the same wait and see how far it is.

The one that works writes its progress beside the lock. Losing such a line costs nothing. Both files
go with the work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from cupola.cache.progress import Progress
from cupola.cache.system import locks

_LOOK_EVERY = 0.3  # seconds
_WAIT = "wait"
_LOCK = ".lock"
_NOTES = ".progress"


class _Line(msgspec.Struct):
    stage: str
    done: int = 0
    total: int | None = None


@contextmanager
def exclusive(lock: Path, progress: Progress) -> Iterator[Progress]:
    """Gives the block to one process at a time; its progress is to go to what this yields.

    A process that waits reports the stages of the one that works. Stage "wait" comes first; inside
    another block of this kind only if there is something to wait for.
    """
    if not isinstance(progress, _Shared):
        progress(_WAIT, 0, None)
    notes = lock.with_suffix(_NOTES)
    held = locks.file_lock(lock)
    while True:
        try:
            held.acquire(timeout=_LOOK_EVERY)
            break
        except Timeout:
            line = _read(notes) or _Line(_WAIT)
            progress(line.stage, line.done, line.total)
    try:
        yield _Shared(notes, progress)
    finally:
        _end(held)


def remove_abandoned(folder: Path) -> None:
    """Deletes the progress and the locks that killed processes have left in ``folder``.

    A lock beside a folder of its name stays: ``staging.clean`` finds the folder by it.
    """
    for notes in folder.glob(f"*{_NOTES}"):
        _remove(notes.with_suffix(_LOCK))
    for lock in folder.glob(f"*{_LOCK}"):
        if not lock.with_suffix("").is_dir():
            _remove(lock)


def _remove(lock: Path) -> None:
    held = locks.file_lock(lock)
    if locks.try_acquire(held):
        _end(held)


def _end(held: FileLock) -> None:
    with suppress(OSError):
        Path(held.lock_file).with_suffix(_NOTES).unlink(missing_ok=True)
    locks.delete(held)


class _Shared:
    """A Progress that others can read."""

    def __init__(self, notes: Path, progress: Progress) -> None:
        self._notes = notes
        self._progress = progress
        self._written = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if (now := time.monotonic()) >= self._written + _LOOK_EVERY:
            self._written = now
            with suppress(OSError):  # a full disk is found by those who write the model
                self._notes.write_bytes(msgspec.json.encode(_Line(stage, done, total)))
        self._progress(stage, done, total)


def _read(path: Path) -> _Line | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Line)
    except (OSError, msgspec.MsgspecError):  # nothing yet, or half a line
        return None
