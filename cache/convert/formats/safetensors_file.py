"""Reads safetensors files as float32, some rows of a tensor at a time. Nothing in them is run.

The ``safetensors`` library checks the header against the file and reads the bytes. Its NumPy arrays
of bfloat16 are of the type of ``ml_dtypes``, which ``onnx`` brings along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from cupola.cache.convert.formats.gguf_blocks import CodedRows, Coding
from cupola.cache.errors import BrokenFileError, UnsupportedError

_FLOATS: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2}  # and the bytes of a value


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """A tensor that stays on the disk until its rows are read; or some rows of one."""

    name: str
    shape: tuple[int, ...]
    kind_name: str
    file: Any  # safetensors.safe_open
    first_row: int = 0
    coding: Coding | None = None

    @property
    def row_count(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.shape[-1] * _FLOATS.get(self.kind_name, 0)

    def rows(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """See ``Tensor``. Raises UnsupportedError for values that are no floats."""
        if self.kind_name not in _FLOATS:
            raise UnsupportedError(
                f"'{self.name}' is of the type {self.kind_name}. Models that are quantized in "
                "safetensors cannot be converted: take the one that is not, or a GGUF"
            )
        first, end = self.first_row + start, self.first_row + self.row_count
        if stop is not None:
            end = min(end, self.first_row + stop)
        if len(self.shape) == 2:
            stored = self.file.get_slice(self.name)[first:end]
        else:
            stored = self.file.get_tensor(self.name).reshape(-1, self.shape[-1])[first:end]
        values = np.asarray(stored, dtype=np.float32)
        if not np.isfinite(values).all():
            raise BrokenFileError(f"Tensor '{self.name}' has values that are not finite")
        return values

    def coded_rows(self, start: int = 0, stop: int | None = None) -> CodedRows:
        raise NotImplementedError  # there is no coding

    def cut(self, start: int, stop: int) -> SafetensorsTensor:
        """See ``Tensor``."""
        shape = (stop - start, self.shape[-1])
        return replace(self, shape=shape, first_row=self.first_row + start)


def read_safetensors(path: Path) -> dict[str, SafetensorsTensor]:
    """The tensors of one file, which stays mapped while one of them lives.

    Raises BrokenFileError for a damaged file, OSError.
    """
    try:
        file = safe_open(path, framework="np")
        names = list(file.keys())
    except SafetensorError as error:
        raise BrokenFileError(f"{path.name}: {error}") from None
    tensors = {}
    for name in names:
        stored = file.get_slice(name)
        shape = tuple(stored.get_shape())
        tensors[name] = SafetensorsTensor(name, shape, stored.get_dtype(), file)
    return tensors


class SafetensorsFile:
    """The tensors of one file, each read as a whole."""

    def __init__(self, path: Path) -> None:
        """Raises BrokenFileError for a damaged file, OSError."""
        self._name = path.name
        self._tensors = read_safetensors(path)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The values of the tensor ``name``, of the shape ``shape``.

        Raises BrokenFileError when the tensor is missing or has another shape, UnsupportedError
        when its values are not floats of 16 or 32 bits.
        """
        if name not in self:
            raise BrokenFileError(f"{self._name} has no tensor {name}")
        tensor = self._tensors[name]
        if tensor.kind_name not in _FLOATS:
            raise UnsupportedError(
                f"{self._name}: {name} is of the unknown type {tensor.kind_name}"
            )
        if tensor.shape != shape:
            raise BrokenFileError(f"{self._name}: {name} is {tensor.shape}, not {shape}")
        return np.asarray(tensor.rows().reshape(shape), dtype=np.float32)
