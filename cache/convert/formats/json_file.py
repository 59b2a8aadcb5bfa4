"""Reads a file of JSON that somebody else wrote: bounded in size and depth, one kind at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cupola.cache.errors import BrokenFileError

T = TypeVar("T", bool, int, float, str, list[Any], dict[str, Any])

MAX_BYTES = 1 << 26  # the largest tokenizers have 35 MB


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file. Raises BrokenFileError, which names the file, and OSError."""
    if path.exists() and not path.is_file():  # a pipe: nothing may ever come
        raise BrokenFileError(f"{path.name} is no regular file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BrokenFileError(f"{path.name} is missing beside the weights") from None
    if len(content) > MAX_BYTES:
        raise BrokenFileError(f"{path.name} is larger than {MAX_BYTES >> 20} MB")
    try:
        found = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.MsgspecError as error:
        raise BrokenFileError(f"{path.name} is no JSON: {error}") from None
    except RecursionError:
        raise BrokenFileError(f"{path.name} is nested too deeply") from None
    if not isinstance(found, dict):
        raise BrokenFileError(f"{path.name} holds no object")
    return found


class JsonObject:
    """An object whose values are asked for one by one, each of a kind."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        """``name``: of the file, for errors."""
        self.name = name
        self.values = values

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of ``key``; ``null`` counts as absent.

        Raises BrokenFileError when it has another type, or is absent and has no default.
        """
        value = self.values.get(key)
        if value is None:
            if default is not None:
                return default
            raise BrokenFileError(f"{self.name} lacks '{key}'")
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise BrokenFileError(
                f"{self.name}: '{key}' is a {type(value).__name__}, not a {kind.__name__}"
            )
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """As ``get``; None where the value is absent."""
        return None if self.values.get(key) is None else self.get(key, kind)

    def inside(self, key: str) -> JsonObject:
        """The object at ``key``; an empty one where it is absent."""
        return JsonObject(f"{self.name}: {key}", self.get(key, dict, {}))
