"""Reads a GGUF file: metadata, tensor directory, tensors as float32.

The header is parsed here and not with ``gguf.GGUFReader``. That class trusts every count and length
in the file, and makes several NumPy objects per array element. A hostile or truncated file can cost
any amount of memory or end in any exception. Here every length is checked against the file's size
before it is used. Dequantisation and the tables of types are ``gguf``'s.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from gguf.quants import dequantize

from cupola.cache.convert.formats.gguf_blocks import CODINGS, CodedRows, Coding, coded_rows
from cupola.cache.errors import BrokenFileError, UnsupportedError

Value = bool | int | float | str | list[Any]
T = TypeVar("T", bool, int, float, str, list[Any])

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_ENTRIES = 1 << 16  # metadata keys, and tensors: real files have hundreds
_MAX_ARRAY = 1 << 23  # elements: vocabularies and merges have up to a million
_MAX_NAME = 1 << 16  # bytes, the format's own limit for keys
_MAX_DIMENSIONS = 4
_MAX_PARTS = 999
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")

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


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor. It stays quantised and on the disk until its rows are read."""

    name: str
    shape: tuple[int, ...]  # as NumPy counts: the last dimension is contiguous
    kind: GGMLQuantizationType
    data: npt.NDArray[np.uint8]  # [rows, bytes of a row], a view of the mapped file

    @property
    def row_count(self) -> int:
        return len(self.data)

    @property
    def row_bytes(self) -> int:
        return int(self.data.shape[1])

    @property
    def kind_name(self) -> str:
        return self.kind.name

    @property
    def bits_per_weight(self) -> float:
        """With what the weights of a block share."""
        block, block_bytes = GGML_QUANT_SIZES[self.kind]
        return 8 * float(block_bytes) / float(block)

    def cut(self, start: int, stop: int) -> GgufTensor:
        """See ``Tensor``."""
        shape = (stop - start, self.shape[-1])
        return replace(self, shape=shape, data=self.data[start:stop])

    def rows(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Rows ``start`` to ``stop`` as float32 ``[rows, columns]``.

        Raises BrokenFileError for values that are not finite.
        """
        with np.errstate(all="ignore"):  # a damaged scale is reported below, not warned about
            values = np.asarray(dequantize(self.data[start:stop], self.kind), dtype=np.float32)
        if not np.isfinite(values).all():
            raise self._not_finite()
        return values

    @property
    def coding(self) -> Coding | None:
        """How the weights are stored. None: in more than four bits, or in another way."""
        return CODINGS.get(self.kind)

    def coded_rows(self, start: int = 0, stop: int | None = None) -> CodedRows:
        """Rows ``start`` to ``stop`` as they are stored. The tensor must have a coding.

        Raises BrokenFileError for values that are not finite.
        """
        with np.errstate(all="ignore"):  # as above
            rows = coded_rows(self.data[start:stop], self.kind)
        if not (np.isfinite(rows.scales).all() and np.isfinite(rows.offsets).all()):
            raise self._not_finite()
        return rows

    def _not_finite(self) -> BrokenFileError:
        return BrokenFileError(f"Tensor '{self.name}' has values that are not finite")


def _mapped(path: Path) -> npt.NDArray[np.uint8]:
    """The file's bytes. As a plain array: each view of a memmap looks for its own place again."""
    return np.asarray(np.memmap(path, mode="r", dtype=np.uint8))


class GgufFile:
    """A GGUF file's metadata and tensors. The file stays mapped while this object lives.

    Raises BrokenFileError for a file that is not a well-formed GGUF file, UnsupportedError for
    versions, byte orders and tensor types that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.stat().st_size < 24:
            raise BrokenFileError(f"{path} is no GGUF file: it is only {path.stat().st_size} bytes")
        data: npt.NDArray[np.uint8] = _mapped(path)
        header = _Header(path, data)
        self.metadata = header.metadata
        self.tensors = header.tensors
        for part in _other_parts(path, header.metadata):
            self._add_part(part)

    def _add_part(self, path: Path) -> None:
        """The tensors of another part of a model that llama-gguf-split has cut."""
        if not path.is_file():
            raise BrokenFileError(f"{path.name} is missing: it is a part of the same model")
        part: npt.NDArray[np.uint8] = _mapped(path)
        tensors = _Header(path, part).tensors
        if twice := tensors.keys() & self.tensors.keys():
            raise BrokenFileError(f"{path.name} has the tensor '{min(twice)}' a second time")
        self.tensors = {**self.tensors, **tensors}

    @property
    def architecture(self) -> str:
        """``general.architecture``: also the beginning of the model's metadata keys.

        Raises BrokenFileError when it is absent.
        """
        return self.get("general.architecture", str)

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The metadata value ``key``, which must be of type ``kind``.

        Raises BrokenFileError when it has another type, or is absent and has no default.
        """
        if key not in self.metadata:
            if default is not None:
                return default
            raise BrokenFileError(f"{self.path} lacks the metadata '{key}'")
        value = self.metadata[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise BrokenFileError(
                f"{self.path}: '{key}' is a {type(value).__name__}, not a {kind.__name__}"
            )
        return value


def _other_parts(path: Path, metadata: Mapping[str, Value]) -> list[Path]:
    """The files that belong to the first one of a split model; none for a whole model.

    Raises BrokenFileError for a file that is not the first.
    """
    count = metadata.get("split.count", 0)
    if type(count) is not int or count <= 1:
        return []
    found = _PART.fullmatch(path.name)
    if count > _MAX_PARTS or found is None or int(found[3]) != count:
        raise BrokenFileError(
            f"{path.name} is one of {count} parts of a model. "
            "Name them as llama-gguf-split does: NAME-00001-of-00002.gguf"
        )
    if int(found[2]) != 1 or metadata.get("split.no", 0) != 0:
        first = f"{found[1]}-00001-of-{found[3]}.gguf"
        raise BrokenFileError(f"{path.name} is a part of a model. Give the first one: {first}")
    return [
        path.with_name(f"{found[1]}-{number:05}-of-{found[3]}.gguf")
        for number in range(2, count + 1)
    ]


class _Header:
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
