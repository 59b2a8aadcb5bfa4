"""A model's weights on their way from the GGUF into the ONNX file, in the precision asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cupola.cache.convert.architecture import Matrix
from cupola.cache.convert.quantization.gptq import round_channels
from cupola.cache.convert.quantization.quantize import (
    BLOCK,
    block_size,
    quantize_channels,
    quantize_rows,
)
from cupola.cache.convert.weights_file import WeightsFile, reshaped
from cupola.cache.errors import UnsupportedError
from cupola.cache.precision import Precision


class Initializers:
    """Collects the initializers; the bytes of the large ones go straight to the data file.

    ``advance`` is called with the number of GGUF bytes that have been used since the last call.
    """

    def __init__(
        self, data: WeightsFile, precision: Precision, advance: Callable[[int], None]
    ) -> None:
        self.precision = precision
        self.tensors: list[onnx.TensorProto] = []
        self._data = data
        self._advance = advance

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """A small value, inside the model file. Returns its name, as all methods do."""
        self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def table(self, name: str, value: npt.NDArray[np.float32]) -> str:
        """A float32 table that is never quantised."""
        self.tensors.append(self._data.write(name, np.float32, value.shape, [value]))
        return name

    def float_matrix(self, name: str, matrix: Matrix, *, transposed: bool) -> str:
        """float32 ``[N, K]``, or ``[K, N]`` as MatMul wants its right side."""
        whole = matrix.whole()
        self._advance(matrix.stored_bytes)
        return self.table(name, np.ascontiguousarray(whole.T) if transposed else whole)

    def quantized_matrix(self, name: str, matrix: Matrix, *, flat: bool = False) -> tuple[str, str]:
        """Codes ``[N, K/block, bytes of a block]`` and float32 scales ``[N, K/block]``: two names.

        ``flat`` codes are ``[N, bytes of a row]``. Raises UnsupportedError when K is no multiple
        of a block.
        """
        bits = self.precision.bits
        rows, columns = matrix.shape
        block = block_size(columns, self.precision)
        if not block:
            raise UnsupportedError(f"{name} has rows of {columns} values, no multiple of {BLOCK}")
        scales: list[npt.NDArray[np.float32]] = []

        def codes() -> Iterator[npt.NDArray[np.uint8]]:
            for piece in matrix.pieces():
                packed, its_scales = quantize_rows(piece.values, bits, block)
                scales.append(its_scales)
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
        """int8 codes ``[K, N]``, as integer products want their right side, and float32 scales
        ``[N]``: two names."""
        if matrix.inputs is None:
            pieces = [quantize_channels(piece.values) for piece in matrix.pieces()]
            codes, scales = map(np.concatenate, zip(*pieces, strict=True))
        else:
            codes, scales = round_channels(matrix.whole(), matrix.inputs)
        self._advance(matrix.stored_bytes)
        transposed = codes.T
        stored = self._data.write(f"{name}_S8", np.int8, transposed.shape, [transposed])
        self.tensors.append(stored)
        return stored.name, self.constant(f"{name}_scales", scales)

    def view(self, of: str, name: str, shape: tuple[int, ...]) -> str:
        """The bytes of the initializer ``of`` under a second name and shape."""
        (original,) = (tensor for tensor in self.tensors if tensor.name == of)
        self.tensors.append(reshaped(original, name, shape))
        return name
