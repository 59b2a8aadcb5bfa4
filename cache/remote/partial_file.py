"""A file that is being loaded: its bytes so far, and a note beside them that says which they are.

``NAME.part`` has the bytes and ``NAME.part.json`` the note. The note never claims more than is in
the file, so a process may be killed at any moment and another goes on. ``NAME`` itself appears when
the content has been checked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cupola.cache.progress import Progress
from cupola.cache.remote.pieces import PIECE, Piece, are_of, cut
from cupola.cache.remote.remote_file import RemoteFile


class _Note(msgspec.Struct):
    url: str
    size: int
    sha256: str
    git_sha1: str
    md5: str
    validator: str
    pieces: list[Piece]


class PartialFile:
    """Lives in one loop; ``save`` alone may run in a thread beside it."""

    def __init__(self, file: RemoteFile, folder: Path, piece_size: int = PIECE) -> None:
        """Takes up what an earlier process has left. Raises FetchError for an unsafe path."""
        self.file = file
        self._piece_size = piece_size
        self.path = file.place(folder)
        self._part = self.path.with_name(self.path.name + ".part")
        self._note = self.path.with_name(self.path.name + ".part.json")
        self.size = file.size
        self.validator = ""
        self.pieces: Sequence[Piece] = ()
        self.ranges = True  # whether the server can begin in the middle
        self._saved = -1  # ``done`` in the note
        self.complete = self.path.is_file() and file.size in (None, self.path.stat().st_size)
        if self.complete:
            self.size = self.path.stat().st_size
        elif note := self._left():
            self.size, self.validator, self.pieces = note.size, note.validator, note.pieces
        elif file.size is not None:
            self.pieces = cut(file.size, piece_size)

    @property
    def done(self) -> int:
        """Bytes that are there."""
        if self.complete:
            return self.size or 0
        return sum(piece.done for piece in self.pieces)

    def begin(self) -> None:
        """Opens the file for ``write``. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._stream = os.fdopen(os.open(self._part, flags, 0o666), "r+b", buffering=0)
        if not self.done:  # bytes that no note speaks of
            self._stream.truncate(0)

    def write(self, piece: Piece, data: bytes) -> None:
        """Adds ``data`` to ``piece``. Raises OSError."""
        self._stream.seek(piece.at)
        view = memoryview(data)
        while view:  # an unbuffered file may take less than all
            view = view[self._stream.write(view) :]
        piece.done += len(data)

    def save(self) -> None:
        """Makes what is there outlast this process, and the machine. Raises OSError."""
        done = self.done
        if self.size is None or not self.ranges or done == self._saved:
            return  # nothing of it can be used again, or nothing is new
        note = msgspec.json.encode(
            _Note(
                self.file.identity,
                self.size,
                self.file.sha256,
                self.file.git_sha1,
                self.file.md5,
                self.validator,
                list(self.pieces),
            )
        )
        os.fsync(self._stream.fileno())
        new = self._note.with_name(self._note.name + ".new")
        new.write_bytes(note)
        new.replace(self._note)
        self._saved = done

    def end(self) -> None:
        self._stream.close()

    def restart(self, size: int | None, validator: str = "", *, ranges: bool = True) -> None:
        """Begins again: the file is another one now, or it can only be had from its beginning."""
        self._note.unlink(missing_ok=True)
        self._stream.truncate(0)
        self.size, self.validator, self.ranges = size, validator, ranges
        self.pieces = (
            [Piece(0, size)] if size is None or not ranges else cut(size, self._piece_size)
        )

    def rewind(self, piece: Piece) -> None:
        """Begins the only piece again. Raises OSError."""
        self._stream.truncate(0)
        piece.done = 0

    def finish(self, progress: Progress) -> bool:
        """Gives the file its name. False: it is not what the server promised, and is deleted.

        Raises OSError.
        """
        if self.complete:
            return True
        whole = self.size in (None, self._part.stat().st_size)
        right = whole and self.file.is_right(self._part, progress)
        if right:
            self._part.replace(self.path)
            self.complete = True
        self._note.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)
        return right

    def _left(self) -> _Note | None:
        try:
            note = msgspec.json.decode(self._note.read_bytes(), type=_Note)
            there = self._part.stat().st_size
        except (OSError, msgspec.MsgspecError):
            return None
        file = self.file
        same = (note.sha256, note.git_sha1, note.md5) == (file.sha256, file.git_sha1, file.md5)
        # A file with a digest may come from elsewhere the next time: the digest decides.
        same = same and (note.url == file.identity or file.has_digest)
        same = same and file.size in (None, note.size) and are_of(note.pieces, note.size)
        reach = max((piece.at for piece in note.pieces if piece.done), default=0)
        return note if same and reach <= there else None
