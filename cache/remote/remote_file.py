"""A file on a server, and how its content is known to be right."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import msgspec

from cupola.cache.errors import FetchError
from cupola.cache.progress import Progress, silent

_CHUNK = 1 << 20


class RemoteFile(msgspec.Struct, frozen=True):
    """``path``: where the file belongs in the folder that it is loaded into, with slashes."""

    path: str
    url: str
    size: int | None = None  # bytes; None: the server says it
    sha256: str = ""
    git_sha1: str = ""  # of a file that lies in git itself: of its length and its bytes
    md5: str = ""  # the only one that some storage knows: against damage, not against people
    is_signed: bool = False  # what follows "?" in ``url`` differs each time, and is a secret

    @property
    def identity(self) -> str:
        """The URL without what differs each time."""
        return self.url.partition("?")[0] if self.is_signed else self.url

    @property
    def has_digest(self) -> bool:
        return bool(self.sha256 or self.git_sha1 or self.md5)

    def place(self, folder: Path) -> Path:
        """Where the file belongs. Raises FetchError for a path that leaves ``folder``."""
        path = PurePosixPath(self.path)
        strange = path.is_absolute() or "\\" in self.path or ":" in self.path
        unprintable = not self.path.isprintable()  # a terminal would obey it
        if strange or unprintable or not path.parts or ".." in path.parts:
            raise FetchError(f"The server offers a file with the unsafe path {self.path!r}")
        return folder.joinpath(*path.parts)

    def is_right(self, path: Path, progress: Progress = silent) -> bool:
        """Whether the file ``path`` has the content that the server promised. Stage: "check"."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return False
        for expected, digest in (
            (self.sha256, hashlib.sha256()),
            (self.git_sha1, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)),
            (self.md5, hashlib.md5(usedforsecurity=False)),
        ):
            if not expected:
                continue
            done = 0
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    done += len(chunk)
                    progress("check", done, size)
            return digest.hexdigest() == expected.lower()
        return True
