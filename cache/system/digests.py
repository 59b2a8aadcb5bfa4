"""Digests of files, written when they are made, so that damage on the disk is found later.

A manifest is a JSON file in the folder of the files that it lists. Each file has its size and the
CRC-32 of each block. A CRC finds what a disk or a copy damages. It is no protection from somebody
who changes files on purpose, because that person can change the manifest as well. ``zlib.crc32``
was the fastest hash of the standard library: 150 MB take 0.09 s, SHA-256 0.15 s where the processor
has instructions for it, BLAKE2 0.35 s.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import msgspec

MANIFEST = "cupola-digests.json"
BLOCK = 1 << 24  # bytes
_PIECE = 1 << 18  # bytes that are read at once

# People edit these files of a model, and the manifest must not forbid it.
EDITED = frozenset(
    {
        "genai_config.json",
        "inference_model.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "cupola.json",
    }
)


class DamagedFileError(ValueError):
    """A file is not as it was when its manifest was written; the text names it."""


class _File(msgspec.Struct):
    size: int  # bytes
    blocks: list[int]  # the CRC-32 of each block


class _Manifest(msgspec.Struct):
    files: dict[str, _File]  # by the path inside the folder, with slashes
    block: int  # bytes of each block but the last of a file


def write_model_digests(folder: Path) -> None:
    """Write the manifest of a finished model. Raises OSError."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    write_digests(folder, [name for name in names if name not in (MANIFEST, *EDITED)])


def write_digests(folder: Path, names: Iterable[str], manifest: str = MANIFEST) -> None:
    """Write the manifest of these files of the folder, and wait for the disk. Raises OSError."""
    files = {}
    for name in names:
        size = (folder / name).stat().st_size
        files[name] = _File(size, list(_digests(folder / name, BLOCK)))
    with (folder / manifest).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(_Manifest(files, BLOCK)), indent=1))
        file.flush()
        os.fsync(file.fileno())


def check_digests(
    folder: Path, manifest: str = MANIFEST, wanted: Callable[[str], bool] = lambda name: True
) -> bool:
    """Compare the files with the manifest. False if there is none.

    ``wanted``: of a name in the manifest, whether its file is compared.

    Raises DamagedFileError, OSError.
    """
    try:
        content = (folder / manifest).read_bytes()
    except FileNotFoundError:
        return False
    try:
        expected = msgspec.json.decode(content, type=_Manifest)
    except msgspec.MsgspecError as error:
        raise DamagedFileError(f"{manifest} is damaged: {error}") from error
    if expected.block < 1:
        raise DamagedFileError(f"{manifest} is damaged: blocks have {expected.block} bytes")
    for name, file in expected.files.items():
        if name.startswith("/") or ".." in Path(name).parts:
            raise DamagedFileError(f"{manifest} is damaged: it lists a file of another folder")
        if not wanted(name):
            continue
        _check_size(folder, name, file.size)
        found = _digests(folder / name, expected.block)
        for number, pair in enumerate(zip_longest(found, file.blocks)):
            if pair[0] != pair[1]:
                start = number * expected.block
                end = min(start + expected.block, file.size)
                raise DamagedFileError(
                    f"{name} is damaged: bytes {start} to {end} are not as they were written"
                )
    return True


def _check_size(folder: Path, name: str, expected: int) -> None:
    try:
        size = (folder / name).stat().st_size
    except FileNotFoundError:
        raise DamagedFileError(f"{name} is missing") from None
    if size != expected:
        raise DamagedFileError(f"{name} is damaged: it has {size} bytes instead of {expected}")


def _digests(path: Path, block: int) -> Iterator[int]:
    """The CRC-32 of each block of a file."""
    piece = memoryview(bytearray(min(block, _PIECE)))
    with path.open("rb", buffering=0) as file:
        ended = False
        while not ended:
            crc, left = 0, block
            while left and (count := file.readinto(piece[:left])):
                crc = zlib.crc32(piece[:count], crc)
                left -= count
            ended = left > 0
            if left < block:
                yield crc
