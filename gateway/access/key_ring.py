"""The keys that open a service: those of its configuration, and those of the file, as it changes.

A key that is removed from the file is refused within a second, without a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from cupola.cache.system.api_keys import ApiKey, KeyFile, KeyFileError, matching

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at the file

_Stamp = tuple[int, int, int]  # of the file: inode, size, time of its last change


class KeyRing:
    """``given``: keys beside those of the file. ``clock``: monotonic seconds."""

    def __init__(self, file: Path, given: Sequence[ApiKey], clock: Callable[[], float]) -> None:
        self._file = KeyFile(file)
        self._given = tuple(given)
        self._clock = clock
        self._filed: tuple[ApiKey, ...] = ()
        self._stamp: _Stamp | None = None
        self._look_at = clock()

    def find(self, key: str) -> ApiKey | None:
        """The record of a key that a client presents."""
        if not key:
            return None
        self._refresh()
        return matching((*self._given, *self._filed), key)

    def _refresh(self) -> None:
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        stamp = _stamp(self._file.path)
        if stamp == self._stamp:
            return
        try:
            self._filed = tuple(self._file.read())
        except KeyFileError as error:
            self._filed = ()  # nobody is let in by a file that cannot be understood
            logger.error("no key of the file is accepted: %s", error)
        self._stamp = stamp


def _stamp(path: Path) -> _Stamp | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
