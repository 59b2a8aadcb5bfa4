"""Changes single lines of ``cupola.toml`` and leaves the others as they are.

Only lines before the first table are settings: those behind it belong to the table.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from cupola.client.errors import ClientError

_MISSING = object()


def put(file: Path, key: str, value: str | int | float) -> None:
    """Set ``key``. Raises ClientError when the file cannot be changed by lines."""
    old = _lines(file)
    places = _places(old, key)
    place = places[0] if places else _end_of_settings(old)
    end = "\r\n" if any(line.endswith("\r\n") for line in old) else "\n"
    before = [line if line.endswith("\n") else line + end for line in old[:place]]
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}{end}"
    new = [*before, line, *old[place + len(places[:1]) :]]
    _write(file, old, new, key, value)


def drop(file: Path, key: str) -> bool:
    """Remove ``key``; False when it was not there. Raises ClientError."""
    old = _lines(file)
    places = _places(old, key)
    if not places and key not in (_parsed(old) or {}):
        return False
    new = [line for number, line in enumerate(old) if number not in places]
    _write(file, old, new, key, _MISSING)
    return True


def _lines(file: Path) -> list[str]:
    """The lines with their ends. A carriage return alone ends no line in TOML."""
    try:
        return re.findall(r"[^\n]*\n|[^\n]+", file.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except UnicodeDecodeError:
        raise ClientError(f"{file} is not UTF-8", "Save it as UTF-8") from None
    except OSError as error:
        raise ClientError(f"{file} cannot be read: {error.strerror or error}") from None


def _parsed(lines: Sequence[str]) -> dict[str, Any] | None:
    """What the lines say; None when they are no TOML, such as lines that end inside a value."""
    try:
        return tomllib.loads("".join(lines))
    except ValueError:
        return None


def _first_table(lines: Sequence[str]) -> int:
    """The number of the line of the first table's header, or the number of all lines."""
    for number, line in enumerate(lines):
        # "[" may also begin a line of a text or of a list
        if line.lstrip().startswith("[") and _parsed(lines[:number]) is not None:
            return number
    return len(lines)


def _places(lines: Sequence[str], key: str) -> list[int]:
    """The numbers of the lines that set ``key``."""
    start = re.compile(rf"""\s*(["']?){re.escape(key)}\1\s*=""")
    found = [n for n, line in enumerate(lines[: _first_table(lines)]) if start.match(line)]
    return [number for number in found if _parsed(lines[:number]) is not None]


def _end_of_settings(lines: Sequence[str]) -> int:
    """The number of the line for a further setting: before the first table and its comment."""
    table = _first_table(lines)
    if table == len(lines):
        return table
    above = lines[table - 1 :: -1] if table else []
    comment = len(list(takewhile(lambda line: line.lstrip().startswith("#"), above)))
    blank = len(list(takewhile(lambda line: not line.strip(), above[comment:])))
    place = table - comment - blank
    # a comment may turn out to be the end of a text of several lines
    return place if _parsed(lines[:place]) is not None else table


def _write(file: Path, old: Sequence[str], new: Sequence[str], key: str, value: object) -> None:
    """Write the new lines, if they change nothing but ``key``. A link stays a link."""
    before, after = _parsed(old), _parsed(new)
    is_meant = after is not None and after.pop(key, _MISSING) == value
    if before is not None:
        before.pop(key, None)
        is_meant = is_meant and before == after
    if not is_meant:
        raise ClientError(f"{file} cannot be changed by this command", "Edit it by hand")
    try:
        _replace(Path(os.path.realpath(file)), "".join(new).encode())
    except OSError as error:
        raise ClientError(f"{file} cannot be written: {error.strerror or error}") from None


def _replace(file: Path, content: bytes) -> None:
    """Write the whole file or nothing. It keeps its owner and its mode. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".new")
    try:
        if file.exists():
            temporary.unlink(missing_ok=True)
            temporary.touch(0o600)  # nobody else may read it before it has the file's own mode
        temporary.write_bytes(content)
        if file.exists():
            _keep_access(file.stat(), temporary)
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _keep_access(access: os.stat_result, file: Path) -> None:
    with suppress(AttributeError, PermissionError):  # not on Windows; only root may give files away
        os.chown(file, access.st_uid, access.st_gid)
    file.chmod(access.st_mode & 0o777)
