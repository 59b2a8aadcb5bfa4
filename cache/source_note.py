"""``cupola-source.json``, which says where a model in the cache came from.

With it a model that was loaded from an address is found by that address without a network.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

SOURCE_NOTE = "cupola-source.json"
_MAX_FILE_BYTES = 1 << 20


class SourceFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file as its source had it."""

    path: str
    size: int
    sha256: str = ""


class SourceNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """``address``: as a person gives it. ``commit``: what was there then."""

    address: str
    commit: str = ""
    files: tuple[SourceFile, ...] = ()

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        content = msgspec.json.format(msgspec.json.encode(self), indent=2)
        (folder / SOURCE_NOTE).write_bytes(content)


def read_source_note(folder: Path) -> SourceNote | None:
    """None: the file is missing or cannot be read."""
    try:
        with (folder / SOURCE_NOTE).open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=SourceNote)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
