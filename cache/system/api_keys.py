"""API keys: who may use a service that others can reach, and for what.

The file holds digests and never keys. A key that is made here is 256 random bits, so its plain
SHA-256 tells nothing about it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cupola.cache.system.locks import file_lock

if TYPE_CHECKING:
    from filelock import FileLock

PREFIX = "cupola-"  # of keys that are made here
SHORTEST = 16  # characters of a key that somebody else has made


class KeyFileError(ValueError):
    """The file of the keys cannot be read, or a change of it is not possible."""


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key may do. ``digest``: the SHA-256 of the key, in hexadecimal digits."""

    name: str
    digest: str
    admin: bool = False  # may load, unload, download and delete models, and end the service
    models: tuple[str, ...] = ()  # patterns of ids and aliases; empty: all
    per_minute: int = 0  # requests; 0: no limit
    at_once: int = 0  # requests that run or wait; 0: no limit
    created: int = 0  # Unix seconds

    def may_use(self, *names: str) -> bool:
        """Whether one of the names of a model is allowed."""
        return not self.models or any(
            fnmatchcase(name.casefold(), pattern.casefold())
            for name in names
            for pattern in self.models
        )


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def matching(keys: Iterable[ApiKey], given: str) -> ApiKey | None:
    """The record of the key ``given``. Takes the same time whichever it is, and whether it is."""
    wanted, found = digest(given).encode(), None
    for key in keys:
        if hmac.compare_digest(key.digest.encode(), wanted):
            found = key
    return found


class KeyFile:
    """The keys of a data folder. Every change replaces the file in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[ApiKey]:
        """The keys; none where there is no file. Raises KeyFileError."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[ApiKey])
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise KeyFileError(f"{self.path} is not a file of keys; restore or delete it") from None

    def add(self, key: ApiKey) -> None:
        """Raises KeyFileError where the name is taken."""
        with self._changing():
            keys = self.read()
            if any(each.name == key.name for each in keys):
                raise KeyFileError(f"There is a key called '{key.name}' already")
            self._write([*keys, key])

    def remove(self, name: str) -> None:
        """Raises KeyFileError where there is no such key."""
        with self._changing():
            keys = self.read()
            left = [key for key in keys if key.name != name]
            if len(left) == len(keys):
                known = ", ".join(key.name for key in keys) or "none"
                raise KeyFileError(f"No key is called '{name}'. There are: {known}")
            self._write(left)

    def _changing(self) -> FileLock:
        return file_lock(self.path.with_suffix(".lock"))

    def _write(self, keys: list[ApiKey]) -> None:
        write_private(self.path, msgspec.json.format(msgspec.json.encode(keys)))


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only its user can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
