"""Locks between processes. The operating system releases them when their holder dies, however."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, wait: bool) -> None:
        while True:
            try:
                # LK_LOCK gives up after ten attempts of a second each.
                msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                if not wait:
                    raise

else:
    import fcntl

    def _lock(file: int, wait: bool) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


class FileLock:
    """An exclusive advisory lock on a file, which is created if need be and not deleted.

    ``with FileLock(path):`` waits for it. A lock is not re-entrant, and belongs to the object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Waits until the lock is held."""
        self._take(wait=True)

    def try_acquire(self) -> bool:
        """Whether the lock could be had at once."""
        try:
            self._take(wait=False)
        except OSError:
            return False
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def delete(self) -> None:
        """Releases the lock and deletes its file."""
        # Deleting first leaves nobody the time to lock a file that is about to go; Windows does
        # not delete an open file.
        if sys.platform == "win32":
            self.release()
        self.path.unlink(missing_ok=True)
        self.release()

    def is_current(self) -> bool:
        """Whether the lock is held on the file that the path still names."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except FileNotFoundError:
            return False

    def _take(self, wait: bool) -> None:
        if self._file is not None:
            raise RuntimeError(f"{self.path} is locked by this object already")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(file, wait)
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
