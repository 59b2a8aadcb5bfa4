"""Reads the header of a GGUF file: its metadata, and where its tensors lie.

It is parsed here and not with ``gguf.GGUFReader``. That class trusts every count and length in the
file, and makes several NumPy objects per array element. A hostile or truncated file can cost any
amount of memory or end in any exception. Here every length is checked against the file's size
before it is used. The tables of types are ``gguf``'s.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from cupola.cache.convert.formats.gguf_tensor import GgufTensor
from cupola.cache.errors import BrokenFileError, UnsupportedError

Value = bool | int | float | str | list[Any]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_ENTRIES = 1 << 16  # metadata keys, and tensors: real files have hundreds
_MAX_ARRAY = 1 << 23  # elements: vocabularies and merges have up to a million
_MAX_NAME = 1 << 16  # bytes, the format's own limit for keys
_MAX_DIMENSIONS = 4

_SCALARS: Mapping[GGUFValueType, str] = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
}


class GgufHeader:
    """A cursor over the file's bytes that never reads past their end."""

    def __init__(self, path: Path, data: npt.NDArray[np.uint8]) -> None:
        self._path = path
        self._data = data
        self._view = data.data
        self._at = 4
        tensor_count, key_count = self._preamble()
        self.metadata = self._metadata(key_count)
        self.tensors = self._tensors(tensor_count)

    def _broken(self, what: str) -> BrokenFileError:
        return BrokenFileError(f"{self._path} is damaged: {what} (at byte {self._at})")

    def _take(self, count: int) -> memoryview:
        if count > len(self._view) - self._at:
            raise self._broken("it ends in the middle of its header")
        self._at += count
        return self._view[self._at - count : self._at]

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))[0]

    def _count(self, what: str, limit: int) -> int:
        count: int = self._number("Q")
        if count > limit:
            raise self._broken(f"it claims {count:,} {what}")
        return count

    def _string(self, limit: int) -> str:
        try:
            return str(self._take(self._count("bytes of text", limit)), "utf-8")
        except UnicodeDecodeError as error:
            raise self._broken(f"a text is not UTF-8: {error.reason}") from None

    def _preamble(self) -> tuple[int, int]:
        if bytes(self._view[:4]) != _MAGIC:
            raise BrokenFileError(f"{self._path} is no GGUF file: it does not begin with 'GGUF'")
        version = self._number("I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            kind = "big-endian GGUF" if swapped else f"GGUF version {version}"
            raise UnsupportedError(f"{self._path} is {kind}; versions 2 and 3 can be read")
        return self._count("tensors", _MAX_ENTRIES), self._count("metadata keys", _MAX_ENTRIES)

    def _metadata(self, count: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for _ in range(count):
            key = self._string(_MAX_NAME)
            if key in found:
                raise self._broken(f"'{key}' is there twice")
            found[key] = self._value(self._kind())
        return found

    def _kind(self) -> GGUFValueType:
        number = self._number("I")
        try:
            return GGUFValueType(number)
        except ValueError:
            raise self._broken(f"it has a value of the unknown type {number}") from None

    def _value(self, kind: GGUFValueType) -> Value:
        if kind is GGUFValueType.STRING:
            return self._string(len(self._view))
        if kind is GGUFValueType.ARRAY:
            return self._array()
        dtype = np.dtype(_SCALARS[kind])
        value: Value = np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()
        return value

    def _array(self) -> list[Any]:
        kind = self._kind()
        count = self._count("elements of an array", _MAX_ARRAY)
        if kind is GGUFValueType.ARRAY:
            raise UnsupportedError(f"{self._path} has arrays of arrays in its metadata")
        if kind is GGUFValueType.STRING:
            return [self._string(len(self._view)) for _ in range(count)]
        dtype = np.dtype(_SCALARS[kind])
        values: list[Any] = np.frombuffer(self._take(count * dtype.itemsize), dtype).tolist()
        return values

    def _tensors(self, count: int) -> dict[str, GgufTensor]:
        directory = [self._tensor_entry() for _ in range(count)]
        alignment = self.metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20:
            raise self._broken(f"its alignment is {alignment}")
        start = -(-self._at // alignment) * alignment
        tensors: dict[str, GgufTensor] = {}
        for name, shape, kind, offset in directory:
            if name in tensors:
                raise self._broken(f"the tensor '{name}' is there twice")
            block, block_bytes = GGML_QUANT_SIZES[kind]
            if shape[-1] % block:
                raise self._broken(f"the rows of '{name}' are not whole {kind.name} blocks")
            row_bytes = shape[-1] // block * block_bytes
            rows = math.prod(shape[:-1])
            begin, end = start + offset, start + offset + rows * row_bytes
            if end > len(self._data):
                raise self._broken(
                    f"the tensor '{name}' ends at byte {end:,} of {len(self._data):,}; "
                    "the download may have been cut off"
                )
            data = self._data[begin:end].reshape(rows, row_bytes)
            tensors[name] = GgufTensor(name, shape, kind, data)
        return tensors

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._string(_MAX_NAME)
        dimensions = self._number("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self._broken(f"the tensor '{name}' has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        if not all(1 <= size <= len(self._data) * 8 for size in shape):
            raise self._broken(f"the tensor '{name}' has the shape {shape}")
        number = self._number("I")
        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            raise UnsupportedError(
                f"The tensor '{name}' is of type {number}, which this version of gguf cannot read"
            ) from None
        return name, shape, kind, self._number("Q")
