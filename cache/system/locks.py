"""Exclusive locks between processes. The operating system frees them when their holder dies."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock


def file_lock(path: Path) -> FileLock:
    """An exclusive advisory lock on the file ``path``, which it creates with its folder.

    ``with file_lock(path):`` waits for the lock. ``acquire(blocking=False)`` raises
    ``filelock.Timeout`` when another process or thread holds it. A lock is held on the file that
    ``path`` names: one whose file was deleted meanwhile is not acquired. The object belongs to the
    thread that made it.
    """
    # The import takes longer than a small command that needs no lock.
    from filelock import FileLock

    # Without flock, filelock would fall back to a marker file that survives its owner.
    return FileLock(path, mode=0o600, fallback_to_soft=False)


def try_acquire(lock: FileLock) -> bool:
    """Whether ``lock`` could be acquired at once."""
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def delete(lock: FileLock) -> None:
    """Deletes the file of ``lock``, which is held, and releases the lock.

    Whoever has opened the file and locks it only now finds that it has no name any more, and opens
    a new one. NFS keeps a name of a file that is open: if a process there does both in the instant
    between, it works beside the next holder.
    """
    path = Path(lock.lock_file)
    try:
        # Deleting first leaves nobody the time to lock a file that is about to go.
        path.unlink(missing_ok=True)
    except PermissionError:  # Windows deletes no open file
        lock.release()
        with suppress(PermissionError):  # the next holder has opened it, and deletes it in its turn
            path.unlink(missing_ok=True)
    else:
        lock.release()
