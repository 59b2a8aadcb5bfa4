"""Writes ``model.onnx.data``: tensors appended one after the other, never all in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import onnx

DATA_FILE = "model.onnx.data"

# Whole pages, so that ONNX Runtime can map a tensor where it lies instead of reading it.
_ALIGNMENT = 4096


class WeightsFile:
    """An external data file of an ONNX model, open for writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("wb")

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._stream.close()

    def write(
        self,
        name: str,
        dtype: npt.DTypeLike,
        shape: tuple[int, ...],
        pieces: Iterable[npt.NDArray[np.generic]],
    ) -> onnx.TensorProto:
        """Appends the tensor whose bytes, in order, are those of ``pieces``.

        Returns the initializer that refers to it. Raises ValueError when the pieces are not as
        many bytes as ``shape`` of ``dtype`` takes.
        """
        dtype = np.dtype(dtype)
        self._stream.write(bytes(-self._stream.tell() % _ALIGNMENT))
        start = self._stream.tell()
        for piece in pieces:
            self._stream.write(np.ascontiguousarray(piece, dtype).data)
        length = self._stream.tell() - start
        if length != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name}: {length} bytes do not fill {dtype} {shape}")
        tensor = onnx.TensorProto()
        tensor.name = name
        tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(dtype)
        tensor.dims.extend(shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", self._path.name), ("offset", start), ("length", length)):
            entry = tensor.external_data.add()
            entry.key = key
            entry.value = str(value)
        return tensor


def reshaped(tensor: onnx.TensorProto, name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    """A second initializer over the same bytes of the file, in another shape.

    Costs no disk space, and unlike a Reshape node, which ONNX Runtime folds at load, no memory.
    """
    if math.prod(shape) != math.prod(tensor.dims):
        raise ValueError(f"{tensor.name} {tuple(tensor.dims)} cannot be seen as {shape}")
    twin = onnx.TensorProto()
    twin.CopyFrom(tensor)
    twin.name = name
    del twin.dims[:]
    twin.dims.extend(shape)
    return twin
