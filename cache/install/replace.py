"""Puts a finished folder in the place of another, so that a crash leaves one or the other whole."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from cupola.cache.staging import replaced_name

_RENAME_EXCHANGE = 2  # of linux/fs.h
_AT_FDCWD = -100  # of fcntl.h: relative paths are those of the working directory


def replace(new: Path, place: Path) -> None:
    """Moves the folder ``new`` to ``place``; what was there is then where ``new`` was.

    Both are on one file system. Raises OSError.
    """
    if not place.exists():
        new.rename(place)
    elif not exchange(new, place):
        replace_in_steps(new, place)


def exchange(first: Path, second: Path) -> bool:
    """Lets two paths change their names in one step. False where the system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:  # an old C library
        return False
    names = os.fsencode(first), os.fsencode(second)
    status = rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return int(status) == 0


def replace_in_steps(new: Path, place: Path) -> None:
    """``replace`` for systems and file systems without an exchange.

    Between the steps the old folder is beside ``place``, under a name where a scan finds it while
    ``place`` is empty. ``staging.clean`` deletes it there when a crash has left it.
    """
    aside = replaced_name(place)
    place.rename(aside)
    new.rename(place)
    with suppress(FileNotFoundError):  # another process has cleaned up
        aside.rename(new)
