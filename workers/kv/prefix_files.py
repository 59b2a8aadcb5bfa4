"""Blocks of keys and values on the disk, one file each, so that they outlive the process.

A file's name is a digest of all tokens up to the end of its block, and of the salt. So a file has
no text. But whoever may read the folder can compute from the values what the text was, or compare
the names with a text. The folder is therefore the user's alone (0700, files 0600).

Files are written in a thread of their own. A file that is damaged is deleted and counts as absent.
Several processes may use one folder: each file appears whole, and may vanish at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Digest = bytes

_HEADER = struct.Struct("<8sQI4x")  # magic, bytes of the block, their CRC-32
_MAGIC = b"cupolaKV"
_MOST_PENDING = 64  # blocks that wait to be written
_KEPT = 0.9  # of the limit, after a tidying
_WRITES = 500  # after so many, others may have written as many
_PARTIAL = ".part"
_WRITING_SECONDS = 3600.0  # after which a partial file has no owner

Block = NDArray[np.generic]


def root_digest(salt: str) -> Digest:
    """Where the chain of a salt's blocks begins."""
    return hashlib.blake2b(salt.encode(), digest_size=20).digest()


def next_digest(before: Digest, tokens: Sequence[int]) -> Digest:
    """The name of the block of ``tokens`` behind the one with the digest ``before``."""
    data = np.array(tokens, "<i8").tobytes()
    return hashlib.blake2b(before + data, digest_size=20).digest()


class PrefixFiles:
    """The files of one model, in a folder of their own beside those of other models."""

    def __init__(self, folder: Path, key: str, max_bytes: int) -> None:
        """``key``: of what decides what the bytes mean. ``max_bytes``: of all models together.

        Raises OSError.
        """
        self._root = folder
        self._folder = folder / key
        self._max_bytes = max_bytes
        for each in (self._root, self._folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            each.chmod(0o700)
        self._total = 0
        self._writes = 0
        self._tidy()
        self._known = {entry.name for entry in self._entries(self._folder)}
        self._pending: queue.Queue[tuple[str, Block] | None] = queue.Queue(_MOST_PENDING)
        self._thread: threading.Thread | None = None

    @property
    def total(self) -> int:
        """About how many bytes all files have."""
        return self._total

    def has(self, digest: Digest) -> bool:
        """Whether the block is there, or is about to be written."""
        return digest.hex() in self._known

    def put(self, digest: Digest, block: Block) -> bool:
        """Write a block, which is copied, if it is not there. False: too many wait already."""
        name = digest.hex()
        if name in self._known:
            return True
        if self._pending.full():
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, daemon=True, name="prefix-files")
            self._thread.start()
        self._known.add(name)
        self._pending.put((name, np.array(block, order="C")))
        return True

    def get(self, digest: Digest, block: Block) -> bool:
        """Read a file into ``block``. False: it is not there, or damaged, or for something else."""
        path = self._folder / digest.hex()
        data = block.data.cast("B")
        header = bytearray(_HEADER.size)
        try:
            with path.open("rb", buffering=0) as file:
                whole = file.readinto(header) == len(header) and file.readinto(data) == len(data)
                whole = whole and not file.read(1)
            if whole and _HEADER.unpack(header) == (_MAGIC, len(data), zlib.crc32(data)):
                os.utime(path)  # it is used
                return True
            logger.warning("%s is damaged and is deleted", path.name)
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s cannot be read: %s", path.name, error)
        self._known.discard(digest.hex())
        return False

    def close(self, seconds: float) -> None:
        """Wait until everything is written, but not for long."""
        if self._thread is None:
            return
        deadline = time.monotonic() + seconds
        with suppress(queue.Full):
            self._pending.put(None, timeout=seconds)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._thread = None

    def _serve(self) -> None:
        while (task := self._pending.get()) is not None:
            name, block = task
            try:
                self._write(name, block)
            except OSError as error:
                self._known.discard(name)
                logger.warning("a block of the prefix cache cannot be written: %s", error.strerror)

    def _write(self, name: str, block: Block) -> None:
        data = block.data.cast("B")
        part = self._folder / f"{name}-{os.getpid()}{_PARTIAL}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            with os.fdopen(os.open(part, flags, 0o600), "wb", buffering=0) as file:
                file.write(_HEADER.pack(_MAGIC, len(data), zlib.crc32(data)))
                if file.write(data) != len(data):
                    raise OSError(0, "the disk is full")
            part.replace(self._folder / name)
        finally:
            part.unlink(missing_ok=True)
        self._total += _HEADER.size + len(data)
        self._writes += 1
        if self._total > self._max_bytes or self._writes % _WRITES == 0:
            self._tidy()

    def _tidy(self) -> None:
        """Delete the files that nobody has used for the longest time, until the rest fits."""
        files: list[tuple[float, int, str]] = []
        too_old = time.time() - _WRITING_SECONDS
        for folder in self._entries(self._root):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for entry in self._entries(Path(folder.path)):
                with suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    dead = entry.name.endswith(_PARTIAL) and state.st_mtime < too_old
                    files.append((-inf if dead else state.st_mtime, state.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        limit = self._max_bytes if total <= self._max_bytes else int(_KEPT * self._max_bytes)
        for used, size, path in sorted(files):
            if total <= limit and used > -inf:
                break
            with suppress(OSError):
                os.unlink(path)
                total -= size
        self._total = total

    @staticmethod
    def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
        with suppress(OSError), os.scandir(folder) as entries:
            yield from entries
