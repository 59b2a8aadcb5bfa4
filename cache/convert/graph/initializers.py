"""A model's weights on their way from the GGUF into the ONNX file, in the model's precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cupola.cache.convert.formats.weights_file import WeightsFile, reshaped
from cupola.cache.convert.quantization.gptq import gptq_channels
from cupola.cache.convert.quantization.quantize import (
    BLOCK,
    block_size,
    quantize_channels,
    quantize_rows,
)
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.errors import UnsupportedError
from cupola.cache.precision import Precision


class Initializers:
    """Collects the initializers. The bytes of the large ones go straight to the data file.

    ``advance`` is called with the number of GGUF bytes that were read since the last call.
    """

    def __init__(
        self, data: WeightsFile, precision: Precision, advance: Callable[[int], None]
    ) -> None:
        self.precision = precision
        self.tensors: list[onnx.TensorProto] = []
        self._data = data
        self._advance = advance

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Stores a small value inside the model file. Returns its name, as all methods do."""
        self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def table(self, name: str, value: npt.NDArray[np.float32]) -> str:
        """Stores a float32 table that is never quantised."""
        self.tensors.append(self._data.write(name, np.float32, value.shape, [value]))
        return name

    def float_matrix(self, name: str, matrix: Matrix, *, transposed: bool) -> str:
        """Stores float32 ``[N, K]``, or ``[K, N]`` for the right side of a MatMul."""
        whole = matrix.whole()
        self._advance(matrix.stored_bytes)
        return self.table(name, np.ascontiguousarray(whole.T) if transposed else whole)

    def quantized_matrix(self, name: str, matrix: Matrix, *, flat: bool = False) -> tuple[str, str]:
        """Stores codes ``[N, K/block, bytes of a block]`` and float32 scales ``[N, K/block]``.

        Returns both names. ``flat`` codes are ``[N, bytes of a row]``. Raises UnsupportedError
        when K is not a multiple of a block.
        """
        bits = self.precision.bits
        rows, columns = matrix.shape
        block = block_size(columns, self.precision)
        if not block:
            raise UnsupportedError(f"{name} has rows of {columns} values, no multiple of {BLOCK}")
        scales: list[npt.NDArray[np.float32]] = []

        def codes() -> Iterator[npt.NDArray[np.uint8]]:
            for piece in matrix.pieces():
                packed, piece_scales = quantize_rows(piece.values, bits, block)
                scales.append(piece_scales)
                yield packed
                self._advance(piece.stored_bytes)

        blocks = columns // block
        row_bytes = columns * bits // 8
        shape = (rows, row_bytes) if flat else (rows, blocks, row_bytes // blocks)
        stored = self._data.write(f"{name}_Q{bits}", np.uint8, shape, codes())
        stored_scales = self._data.write(f"{name}_scales", np.float32, (rows, blocks), scales)
        self.tensors += [stored, stored_scales]
        return stored.name, stored_scales.name

    def channel_matrix(self, name: str, matrix: Matrix) -> tuple[str, str]:
        """Stores int8 codes ``[K, N]``, for the right side of an integer product.

        Also stores float32 scales ``[N]``. Returns both names.
        """
        if matrix.inputs is None:
            pieces = [quantize_channels(piece.values) for piece in matrix.pieces()]
            codes, scales = map(np.concatenate, zip(*pieces, strict=True))
        else:
            codes, scales = gptq_channels(matrix.whole(), matrix.inputs)
        self._advance(matrix.stored_bytes)
        transposed = codes.T
        stored = self._data.write(f"{name}_S8", np.int8, transposed.shape, [transposed])
        self.tensors.append(stored)
        return stored.name, self.constant(f"{name}_scales", scales)

    def view(self, of: str, name: str, shape: tuple[int, ...]) -> str:
        """Gives the bytes of the initializer ``of`` a second name and shape."""
        (original,) = (tensor for tensor in self.tensors if tensor.name == of)
        self.tensors.append(reshaped(original, name, shape))
        return name
