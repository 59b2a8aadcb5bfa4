"""Changes single lines of ``cupola.toml`` and leaves the others as they are."""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path

from cupola.client.errors import ClientError


def put(file: Path, key: str, value: str | int | float) -> None:
    """Set ``key``. Raises ClientError when the file cannot be changed by lines."""
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    lines = _lines(file)
    places = _places(lines, key)
    if places:
        lines[places[0]] = line
    else:
        lines.append(line)
    _write(file, lines, {key: value})


def drop(file: Path, key: str) -> bool:
    """Remove ``key``; False when it was not there. Raises ClientError."""
    lines = _lines(file)
    places = _places(lines, key)
    for place in reversed(places):
        del lines[place]
    if places:
        _write(file, lines, {key: None})
    return bool(places)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except UnicodeDecodeError:
        raise ClientError(f"{file} is not UTF-8", "Save it as UTF-8") from None


def _places(lines: list[str], key: str) -> list[int]:
    start = re.compile(rf"\s*{re.escape(key)}\s*=")
    return [number for number, line in enumerate(lines) if start.match(line)]


def _write(file: Path, lines: list[str], expected: dict[str, object]) -> None:
    text = "".join(line + "\n" for line in lines)
    try:
        found = tomllib.loads(text)
        is_meant = all(found.get(key) == value for key, value in expected.items())
    except tomllib.TOMLDecodeError:
        is_meant = False
    if not is_meant:
        raise ClientError(f"{file} cannot be changed by this command", "Edit it by hand")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".new")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(file)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ClientError(f"{file} cannot be written: {error.strerror or error}") from None
