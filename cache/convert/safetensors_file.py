"""Reads a safetensors file: a JSON header, then the tensors' bytes. Nothing in it is run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from cupola.cache.errors import BrokenFileError, UnsupportedError

_MAX_HEADER = 64 * 1024 * 1024
_PREFIX = 8  # bytes: the header's length
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class SafetensorsFile:
    """The tensors of one file, as float32. Their pages are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises BrokenFileError, OSError."""
        self._name = path.name
        if path.stat().st_size < _PREFIX:
            raise BrokenFileError(f"{path.name} is too short for a safetensors file")
        self._bytes = np.memmap(path, np.uint8, "r")
        length = int.from_bytes(self._bytes[:_PREFIX].tobytes(), "little")
        if length > min(_MAX_HEADER, self._bytes.size - _PREFIX):
            raise BrokenFileError(f"{path.name} is cut off, or no safetensors file")
        self._start = _PREFIX + length
        try:
            raw = msgspec.json.decode(
                self._bytes[_PREFIX : self._start].tobytes(), type=dict[str, msgspec.Raw]
            )
            raw.pop("__metadata__", None)
            self._entries = {
                name: msgspec.json.decode(entry, type=_Entry) for name, entry in raw.items()
            }
        except (msgspec.MsgspecError, ValueError) as error:
            raise BrokenFileError(f"{path.name}: the header is damaged: {error}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def tensor(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Raises BrokenFileError when it is not there or is no such shape, UnsupportedError."""
        entry = self._entries.get(name)
        if entry is None:
            raise BrokenFileError(f"{self._name} has no tensor {name}")
        if entry.dtype not in _TYPES:
            raise UnsupportedError(f"{self._name}: {name} is of the unknown type {entry.dtype}")
        dtype = _TYPES[entry.dtype]
        begin, end = (self._start + offset for offset in entry.data_offsets)
        if entry.shape != shape:
            raise BrokenFileError(f"{self._name}: {name} is {entry.shape}, not {shape}")
        if not self._start <= begin <= end <= self._bytes.size:
            raise BrokenFileError(f"{self._name}: {name} lies outside the file")
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise BrokenFileError(f"{self._name}: {name} has not the bytes that its shape takes")
        values = np.frombuffer(self._bytes[begin:end], dtype).reshape(shape)
        if entry.dtype == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32)
