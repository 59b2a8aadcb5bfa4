"""Reads a model file of CTranslate2 as float32, one tensor at a time. Nothing in the file is run.

The layout: a version, the name of the specification and its revision; then the number of tensors,
each with its name, sizes, type and bytes; then names that mean the same tensor as others.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cupola.cache.errors import BrokenFileError, UnsupportedError

_VERSIONS = (4, 5, 6)  # in which the layout is as described
_TYPES: dict[int, type[np.generic]] = {
    0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16,
}  # fmt: skip
_MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 8


class CTranslate2File:
    """The tensors of one ``model.bin``. The file stays mapped while this object lives."""

    def __init__(self, path: Path) -> None:
        """Raises BrokenFileError, UnsupportedError, OSError."""
        self._name = path.name
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise self._broken("it is empty")
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 0
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError):
            raise self._broken("its header is cut or damaged") from None

    def _read_header(self) -> None:
        (version,) = self._numbers("I")
        if version not in _VERSIONS:
            raise UnsupportedError(f"{self._name} is no model of CTranslate2 that is known here")
        self.specification = self._text()
        self._numbers("I")
        (count,) = self._numbers("I")
        if count > _MAX_TENSORS:
            raise self._broken(f"it claims to hold {count} tensors")
        self._tensors = dict(self._tensor() for _ in range(count))
        (count,) = self._numbers("I")
        for _ in range(min(count, _MAX_TENSORS)):
            alias, name = self._text(), self._text()
            if name in self._tensors:
                self._tensors[alias] = self._tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of the tensor ``name``. Raises BrokenFileError when it is missing."""
        if name not in self:
            raise self._broken(f"it has no tensor {name}")
        return self._tensors[name][1]

    def number(self, name: str) -> int:
        """The value of a tensor that holds one number. Raises BrokenFileError."""
        if math.prod(self.shape(name)) != 1:
            raise self._broken(f"{name} is not one number")
        return int(self._values(name).reshape(()))

    def tensor(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The values of the tensor ``name``, of the shape ``shape``.

        Weights of 8 or 16 bits have one scale a row beside them. Raises BrokenFileError,
        UnsupportedError.
        """
        if (found := self.shape(name)) != shape:
            raise self._broken(f"{name} is {found}, not {shape}")
        values = self._values(name)
        if values.dtype.kind == "f":
            return values.astype(np.float32)
        if f"{name}_scale" not in self:
            raise UnsupportedError(f"{self._name}: {name} has integers without scales")
        scales = self._values(f"{name}_scale").astype(np.float32)
        return values.astype(np.float32) / scales.reshape(-1, *[1] * (len(shape) - 1))

    def _values(self, name: str) -> npt.NDArray[np.generic]:
        kind, shape, start = self._tensors[name]
        if kind not in _TYPES:
            raise UnsupportedError(f"{self._name}: {name} is of the unknown type {kind}")
        flat = np.frombuffer(self._bytes, _TYPES[kind], math.prod(shape), start)
        return flat.reshape(shape)

    def _tensor(self) -> tuple[str, tuple[int, tuple[int, ...], int]]:
        """The next tensor: its name; and its type, sizes and the place of its bytes."""
        name = self._text()
        (rank,) = self._numbers("B")
        if rank > _MAX_DIMENSIONS:
            raise self._broken(f"{name} has {rank} dimensions")
        shape = self._numbers(f"{rank}I")
        kind, size = self._numbers("BI")
        start = self._at
        width = np.dtype(_TYPES[kind]).itemsize if kind in _TYPES else 0
        if start + size > len(self._bytes) or (width and math.prod(shape) * width != size):
            raise self._broken(f"{name} does not have the bytes that its sizes need")
        self._at += size
        return name, (kind, shape, start)

    def _text(self) -> str:
        (length,) = self._numbers("H")
        start, self._at = self._at, self._at + length
        return self._bytes[start : self._at].rstrip(b"\0").decode()

    def _numbers(self, layout: str) -> tuple[int, ...]:
        numbers = struct.unpack_from(f"<{layout}", self._bytes, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return numbers

    def _broken(self, what: str) -> BrokenFileError:
        return BrokenFileError(f"{self._name}: {what}")
