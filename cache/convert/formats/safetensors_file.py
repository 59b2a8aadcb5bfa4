"""Reads a safetensors file as float32, one tensor at a time. Nothing in the file is run.

The ``safetensors`` library checks the header against the file and reads the bytes. Its NumPy arrays
of bfloat16 are of the type of ``ml_dtypes``, which ``onnx`` brings along.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from cupola.cache.errors import BrokenFileError, UnsupportedError

_FLOATS = frozenset({"F32", "F16", "BF16"})


class SafetensorsFile:
    """The tensors of one file. The file stays mapped while this object lives."""

    def __init__(self, path: Path) -> None:
        """Raises BrokenFileError for a damaged file, OSError."""
        self._name = path.name
        try:
            self._file = safe_open(path, framework="np")
        except SafetensorError as error:
            raise BrokenFileError(f"{path.name}: {error}") from None
        self._tensors = frozenset(self._file.keys())

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The values of the tensor ``name``, of the shape ``shape``.

        Raises BrokenFileError when the tensor is missing or has another shape, UnsupportedError
        when its values are not floats of 16 or 32 bits.
        """
        if name not in self:
            raise BrokenFileError(f"{self._name} has no tensor {name}")
        tensor = self._file.get_slice(name)
        kind, found = tensor.get_dtype(), tuple(tensor.get_shape())
        if kind not in _FLOATS:
            raise UnsupportedError(f"{self._name}: {name} is of the unknown type {kind}")
        if found != shape:
            raise BrokenFileError(f"{self._name}: {name} is {found}, not {shape}")
        return np.asarray(self._file.get_tensor(name), dtype=np.float32)
