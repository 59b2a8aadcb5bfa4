"""Files in object storage (S3, Google Cloud Storage, Azure's blobs), by fsspec.

The libraries come with the extra ``cupola[storage]``. Keys and endpoints are theirs to find: from
the environment, from their own configuration files, and from fsspec's (``FSSPEC_S3_ENDPOINT_URL``).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cupola.cache.errors import DeniedError, FetchError, NotFoundError, UnsupportedError
from cupola.cache.model_address import StorageAddress
from cupola.cache.progress import Progress, silent
from cupola.cache.remote.partial_file import PartialFile
from cupola.cache.remote.rate_limit import RateLimit
from cupola.cache.remote.remote_file import RemoteFile

_BLOCK = 4 << 20  # bytes of a request
_SAVED_EVERY = 8  # blocks: what a killed process loads again is what came since
_MOST_FILES = 20_000


def list_objects(address: StorageAddress) -> list[RemoteFile]:
    """The file at ``address``, or all files below it. Raises FetchError, UnsupportedError."""
    storage = _storage(address.scheme)
    with _Told(address):
        if storage.isfile(address.path):
            return [_file(storage.info(address.path), address, address.path.rpartition("/")[0])]
        found = storage.find(address.path.rstrip("/"), detail=True)
    if len(found) > _MOST_FILES:
        raise FetchError(f"{address} has {len(found)} files: name the folder of one model")
    return [_file(info, address, address.path.rstrip("/")) for info in found.values()]


def load_objects(
    address: StorageAddress,
    files: Sequence[RemoteFile],
    folder: Path,
    progress: Progress = silent,
    rate: RateLimit | None = None,
) -> list[Path]:
    """Puts ``files`` into ``folder``, and goes on where an earlier process ended.

    Stages: "download" and "check". Raises FetchError, OSError.
    """
    storage, rate = _storage(address.scheme), rate or RateLimit()
    partials = [PartialFile(file, folder) for file in files]
    total = sum(each.size or 0 for each in partials)
    for each in partials:
        if each.complete:
            continue
        with _Told(address):
            state = _validator(storage.info(each.file.url))
        each.begin()
        try:
            if each.validator not in ("", state):
                each.restart(each.file.size, state)
            each.validator = state
            _load(storage, each, address, lambda: _report(partials, total, progress), rate)
        finally:
            try:
                each.save()
            finally:
                each.end()
    for each in partials:
        if not each.finish(progress):
            raise FetchError(f"{each.file.path} is not as {address} has promised. Try again")
    return [each.path for each in partials]


def _load(storage: Any, file: PartialFile, address: Any, report: Any, rate: RateLimit) -> None:
    blocks = 0
    for piece in file.pieces:
        while piece.left:
            end = piece.at + min(_BLOCK, piece.left)
            with _Told(address):
                data = storage.cat_file(file.file.url, start=piece.at, end=end)
            if not data:
                raise FetchError(f"{address} ended in the middle of {file.file.path}. Try again")
            file.write(piece, data[: piece.left])
            report()
            blocks += 1
            if blocks % _SAVED_EVERY == 0:
                file.save()
            time.sleep(rate.wait(len(data), time.monotonic()))


def _report(partials: Sequence[PartialFile], total: int, progress: Progress) -> None:
    progress("download", sum(each.done for each in partials), total)


def _storage(scheme: str) -> Any:
    try:
        return importlib.import_module("fsspec").filesystem(scheme)  # not in every installation
    except ImportError as error:
        text = f"{scheme}: needs a library that is not here ({error.name or error}). Install it"
        raise UnsupportedError(f"{text} with: pip install 'cupola[storage]'") from None


def _file(info: dict[str, Any], address: StorageAddress, base: str) -> RemoteFile:
    name = str(info["name"])
    path = name.lstrip("/").removeprefix(base.strip("/")).lstrip("/")
    return RemoteFile(path or name.rpartition("/")[2], name, int(info["size"]))


def _validator(info: dict[str, Any]) -> str:
    """What changes when the object changes."""
    for key in ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified"):
        if info.get(key):
            return str(info[key])
    return str(info.get("created", ""))


class _Told:
    """Turns what a library of a storage raises into a FetchError that names ``address``."""

    def __init__(self, address: StorageAddress) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if kind is None or not issubclass(kind, Exception):
            return
        if issubclass(kind, FileNotFoundError):
            raise NotFoundError(f"{self._address} is not there") from None
        if issubclass(kind, PermissionError):
            text = f"{self._address} may not be read. Check the keys in the environment"
            raise DeniedError(text) from None
        first = (str(error).splitlines() or [""])[0][:200] or kind.__name__
        raise FetchError(f"Could not fetch {self._address}: {first}") from None
