"""A GGUF file, or the parts of one: metadata, and tensors as float32.

``gguf_header`` reads the header. Dequantisation is ``gguf``'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_header import GgufHeader, Value
from cupola.cache.errors import BrokenFileError

T = TypeVar("T", bool, int, float, str, list[Any])

_MAX_PARTS = 999
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


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
        header = GgufHeader(path, data)
        self.metadata = header.metadata
        self.tensors = header.tensors
        for part in _other_parts(path, header.metadata):
            self._add_part(part)

    def _add_part(self, path: Path) -> None:
        """The tensors of another part of a model that llama-gguf-split has cut."""
        if not path.is_file():
            raise BrokenFileError(f"{path.name} is missing: it is a part of the same model")
        part: npt.NDArray[np.uint8] = _mapped(path)
        tensors = GgufHeader(path, part).tensors
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
