"""One service for each data folder: it holds a lock there as long as it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cupola.cache.home import Home
from cupola.cache.system.locks import file_lock, try_acquire
from cupola.service import daemon_file

if TYPE_CHECKING:
    from filelock import FileLock


class HomeTakenError(Exception):
    """Another service has the data folder; the text says which one and what to do."""


def take(home: Home) -> FileLock | None:
    """The lock, which the caller keeps until it ends. Raises HomeTakenError.

    None where the folder can have no lock, for example on a disk that is read-only: then nothing of
    another service can be overwritten there either.
    """
    lock = file_lock(home.root / "service.lock")
    try:
        taken = try_acquire(lock)
    except (OSError, NotImplementedError):
        return None
    if not taken:
        owner = daemon_file.announced(home.daemon_file) or "another process"
        raise HomeTakenError(
            f"the folder {home.root} is in use by a service ({owner}); stop it with "
            "'cupola service stop' or choose another folder with --home"
        )
    return lock
