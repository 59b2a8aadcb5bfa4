"""Loads files into a folder: several pieces side by side, each as often as it takes.

The state is in the folder (see ``partial_file``), so whoever is ended, in whatever way, goes on
where the bytes ended. Memory is bounded: a connection holds what it has just received.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType

import anyio
import anyio.to_thread
import httpx2

from cupola.cache.errors import FetchError, HashMismatchError
from cupola.cache.progress import Progress, silent
from cupola.cache.remote import ranges, retry
from cupola.cache.remote.http_client import misled, new_client, refused, server_of, unreachable
from cupola.cache.remote.partial_file import PartialFile
from cupola.cache.remote.pieces import PIECE, Piece
from cupola.cache.remote.rate_limit import RateLimit
from cupola.cache.remote.remote_file import RemoteFile

CONNECTIONS = 6
_SAVED_EVERY = 1.0  # seconds: what a killed process loads again is what came since
_MOST_RESTARTS = 3  # of a file that changes while it is loaded


class _AnotherFileError(Exception):
    """The answer is about another file than the pieces: it has changed, or has no ranges."""

    def __init__(self, size: int | None, validator: str, *, has_ranges: bool) -> None:
        super().__init__()
        self.size = size
        self.validator = validator
        self.has_ranges = has_ranges


class _TryAgainError(Exception):
    """The server has not given what was asked for, and may the next time."""

    def __init__(self, error: FetchError, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.error = error
        self.headers = headers


def load(
    files: Sequence[RemoteFile],
    folder: Path,
    progress: Progress = silent,
    headers: Mapping[str, str] = MappingProxyType({}),
    piece_size: int = PIECE,
    rate: RateLimit | None = None,
) -> list[Path]:
    """Puts ``files`` into ``folder`` and returns their paths. Stages: "download" and "check".

    ``headers``: sent to the files' own servers, such as a token. Raises FetchError, OSError. An
    exception from outside, such as KeyboardInterrupt, ends it at once and leaves a state from
    which the next call goes on.
    """
    return anyio.run(partial(load_files, files, folder, progress, headers, piece_size, rate))


async def load_files(
    files: Sequence[RemoteFile],
    folder: Path,
    progress: Progress = silent,
    headers: Mapping[str, str] = MappingProxyType({}),
    piece_size: int = PIECE,
    rate: RateLimit | None = None,
) -> list[Path]:
    """As ``load``, in a loop that is running."""
    partials = [PartialFile(file, folder, piece_size) for file in files]
    async with new_client() as client:
        transfer = _Transfer(client, dict(headers), partials, progress, rate or RateLimit())
        try:
            await transfer.run()
        except ExceptionGroup as group:
            raise _first(group) from None
    for each in partials:
        if not each.finish(progress):
            raise HashMismatchError(
                f"{each.file.path} from {server_of(each.file.url)} is not the file that was "
                "expected (its SHA-256 or its size differs); it was not used. Try again"
            )
    return [each.path for each in partials]


@dataclass
class _Transfer:
    client: httpx2.AsyncClient
    headers: dict[str, str]
    partials: list[PartialFile]
    progress: Progress
    rate: RateLimit
    queue: deque[tuple[PartialFile, Piece]] = field(default_factory=deque)
    restarts: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        open_files = [each for each in self.partials if not each.complete]
        if not open_files:
            return
        for each in open_files:
            each.begin()
        try:
            self._report()
            async with anyio.create_task_group() as saver:
                saver.start_soon(self._save_often, open_files)
                for each in open_files:
                    if each.size is None:
                        await self._with_tries(each, None)  # asks how long it is
                await self._load_all(open_files)
                saver.cancel_scope.cancel()
        finally:
            for each in open_files:
                try:
                    each.save()
                finally:
                    each.end()

    async def _load_all(self, files: list[PartialFile]) -> None:
        """Until all pieces are there. A restarted file has new ones, hence the loop."""
        while work := [(f, p) for f in files for p in f.pieces if not p.complete]:
            self.queue = deque(work)
            async with anyio.create_task_group() as group:
                for _ in range(min(CONNECTIONS, len(work))):
                    group.start_soon(self._connection)

    async def _connection(self) -> None:
        while self.queue:
            file, piece = self.queue.popleft()
            if piece in file.pieces:  # else the file was restarted meanwhile
                await self._with_tries(file, piece)

    async def _with_tries(self, file: PartialFile, piece: Piece | None) -> None:
        """Loads a piece, or asks for a file's length, as often as it brings something."""
        attempt = 0
        while piece is None or piece in file.pieces:
            before = piece.done if piece else 0
            headers: Mapping[str, str] = {}
            try:
                if piece is None:
                    await self._probe(file)
                else:
                    await self._load_piece(file, piece)
                return
            except _AnotherFileError as found:
                if piece is None or piece in file.pieces:  # else another one has seen it, too
                    self._restart(file, found, new=piece is None)
                return
            except _TryAgainError as failure:
                error, headers = failure.error, failure.headers
            except (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as failure:
                raise misled(file.file.url, file.file.path, failure) from None
            except (httpx2.TransportError, httpx2.DecodingError) as failure:
                error = unreachable(file.file.url, file.file.path, failure)
            attempt += 1
            if piece is not None and not file.ranges:
                file.rewind(piece)  # there is no way to go on in the middle
            elif piece is not None and piece.done > before:
                attempt = 1
            seconds = retry.wait_seconds(attempt, headers, datetime.now(UTC))
            if attempt >= retry.ATTEMPTS or seconds > retry.LONGEST_WAIT:
                raise error
            await anyio.sleep(seconds)

    def _restart(self, file: PartialFile, found: _AnotherFileError, new: bool) -> None:
        """``new``: nothing was known about the file before."""
        count = self.restarts[file.file.path] = self.restarts.get(file.file.path, -new) + 1
        if file.file.size is not None and found.size not in (None, file.file.size):
            raise HashMismatchError(
                f"{file.file.path} has {found.size} bytes on {server_of(file.file.url)}, and "
                f"{file.file.size} were expected; it was not used"
            )
        if count > _MOST_RESTARTS:
            text = f"{file.file.path} changes on {server_of(file.file.url)} while it is loaded"
            raise FetchError(f"{text}. Try again later")
        size = file.file.size if found.size is None else found.size
        file.restart(size, found.validator, ranges=found.has_ranges and file.ranges)
        self._report()

    async def _probe(self, file: PartialFile) -> None:
        """Finds out how long the file is and whether the server can begin in the middle."""
        async with self._request(file, {"Range": "bytes=0-0"}) as response:
            self._check_status(file, response)
            found = ranges.content_range(response.headers)
            validator = ranges.validator(response.headers)
            partly = response.status_code == 206 and not ranges.is_encoded(response.headers)
            if partly and found and found.total is not None:
                raise _AnotherFileError(found.total, validator, has_ranges=True)
            size = None if response.status_code == 206 else ranges.content_length(response.headers)
            raise _AnotherFileError(size, validator, has_ranges=False)

    async def _load_piece(self, file: PartialFile, piece: Piece) -> None:
        wanted = {} if piece.end is None else {"Range": f"bytes={piece.at}-{piece.end - 1}"}
        async with self._request(file, wanted if file.ranges else {}) as response:
            self._check_status(file, response)
            self._check_answer(file, piece, response)
            encoded = ranges.is_encoded(response.headers)
            stream = response.aiter_bytes() if encoded else response.aiter_raw()
            async for data in stream:
                if piece not in file.pieces:
                    return  # another connection has seen that the file is another one
                left = piece.left
                file.write(piece, data if left is None else data[:left])
                self._report()
                seconds = self.rate.wait(len(data), time.monotonic())
                if left is not None and len(data) >= left:
                    if len(data) > left and not file.ranges:
                        raise _AnotherFileError(None, "", has_ranges=False)
                    return
                if seconds:
                    await anyio.sleep(seconds)
            if piece.end is None:
                piece.end = file.size = piece.at
            else:
                text = f"{server_of(file.file.url)} ended in the middle of {file.file.path}"
                raise _TryAgainError(FetchError(f"{text}. Try again: what has arrived is kept"), {})

    def _check_status(self, file: PartialFile, response: httpx2.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 416:  # nothing lies where the file had bytes: it is shorter now
            raise _AnotherFileError(None, "", has_ranges=True)
        error = refused(response, file.file.path)
        if retry.is_temporary(status):
            raise _TryAgainError(error, response.headers)
        raise error

    def _check_answer(self, file: PartialFile, piece: Piece, response: httpx2.Response) -> None:
        """That the body is the piece that was asked for, of the same file as before."""
        headers = response.headers
        validator = ranges.validator(headers)
        trusted = file.file.has_digest  # then the digest decides
        if response.status_code == 200:
            size = ranges.content_length(headers)
            if file.ranges and not (piece.at == 0 and size == piece.end):
                raise _AnotherFileError(size, validator, has_ranges=False)
            if None not in (size, file.size) and size != file.size:
                raise _AnotherFileError(size, validator, has_ranges=False)
            return
        found = ranges.content_range(headers)
        if ranges.is_encoded(headers):
            raise _AnotherFileError(None, validator, has_ranges=False)
        if found is None or found.start != piece.at or piece.end is None or found.end > piece.end:
            text = f"{server_of(file.file.url)} sends other bytes of {file.file.path} than asked"
            raise _TryAgainError(FetchError(text), {})
        changed = file.validator and validator != file.validator and not trusted
        if found.total not in (None, file.size) or changed:
            raise _AnotherFileError(found.total, validator, has_ranges=True)
        file.validator = file.validator or validator

    def _request(
        self, file: PartialFile, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        return self.client.stream("GET", file.file.url, headers={**self.headers, **headers})

    def _report(self) -> None:
        sizes = [each.size for each in self.partials]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        self.progress("download", sum(each.done for each in self.partials), total)

    async def _save_often(self, files: list[PartialFile]) -> None:
        while True:
            await anyio.sleep(_SAVED_EVERY)
            for each in files:
                await anyio.to_thread.run_sync(each.save)
            self._report()  # also while nothing comes: the rate falls


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the others."""
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group has an exception")
