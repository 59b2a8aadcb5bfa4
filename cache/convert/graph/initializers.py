"""A model's weights on their way from their file into the ONNX file, in the model's precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cupola.cache.convert.formats.weights_file import WeightsFile, reshaped
from cupola.cache.convert.quantization.four_bit_rounding import ROUNDED, nearest_codes
from cupola.cache.convert.quantization.four_bits import rows_with_means, symmetric_rows
from cupola.cache.convert.quantization.gptq import gptq_channels
from cupola.cache.convert.quantization.quantize import (
    BLOCK,
    block_size,
    quantize_channels,
    quantize_rows,
)
from cupola.cache.convert.weights.matrix import CodedPiece, Matrix
from cupola.cache.errors import UnsupportedError
from cupola.cache.precision import Precision

# The most weights of 8 bits that share a scale. A block takes 8 bytes of memory beside its weights,
# so larger ones take less. Weights of W8A8 are even. Beside four bits, 64 were as exact as 32.
_MOST_OF_BLOCK = {Precision.W8A8: 128, Precision.INT4: 64}


@dataclass(frozen=True, slots=True)
class StoredBlocks:
    """A stored matrix for MatMulNBits."""

    inputs: list[str]  # the operator's inputs behind the activations
    shape: tuple[int, int]  # (N, K)
    bits: int
    block: int
    means: bool  # K counts a column for the mean of each block's inputs


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """A stored matrix, for a report."""

    name: str
    bits: int
    sources: tuple[tuple[str, int], ...]  # the type in the file and the number of weights


class Initializers:
    """Collects the initializers. The bytes of the large ones go straight to the data file.

    ``advance`` is called with the number of the file's bytes that were read since the last call.
    """

    def __init__(
        self,
        data: WeightsFile,
        precision: Precision,
        advance: Callable[[int], None],
        *,
        large_blocks: bool = False,
    ) -> None:
        """``large_blocks``: of weights of 8 bits, which are even."""
        self.precision = precision
        self._most = 128 if large_blocks else _MOST_OF_BLOCK.get(precision, BLOCK)
        self.tensors: list[onnx.TensorProto] = []
        self.matrices: list[StoredWeights] = []  # those that were rounded
        self._data = data
        self._advance = advance

    def block_size(self, columns: int) -> int:
        """The block of a matrix of 8 bits with rows of so many values. 0: none divides them."""
        return block_size(columns, self._most)

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Stores a small value inside the model file. Returns its name, as all methods do."""
        self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def table(self, name: str, value: npt.NDArray[np.float32]) -> str:
        """Stores a float32 table that is never quantised."""
        self.tensors.append(self._data.write(name, np.float32, value.shape, [value]))
        return name

    def pieces(
        self, name: str, shape: tuple[int, ...], pieces: Iterable[npt.NDArray[np.float32]]
    ) -> str:
        """As ``table``, of a table that is given piece by piece."""
        self.tensors.append(self._data.write(name, np.float32, shape, pieces))
        return name

    def float_matrix(self, name: str, matrix: Matrix, *, transposed: bool) -> str:
        """Stores floats ``[N, K]``, or ``[K, N]`` for the right side of a MatMul.

        They are of 16 or 32 bits, as the precision says.
        """
        whole = matrix.whole()
        self._advance(matrix.stored_bytes)
        values = np.ascontiguousarray(whole.T) if transposed else whole
        if self.precision is not Precision.FP16:
            return self.table(name, values)
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise UnsupportedError(f"{name} has weights that are too large for 16 bits")
        self.tensors.append(self._data.write(name, np.float16, values.shape, [values]))
        return name

    def quantized_matrix(self, name: str, matrix: Matrix, *, flat: bool = False) -> tuple[str, str]:
        """Stores codes of 8 bits ``[N, K/block, block]`` and float32 scales ``[N, K/block]``.

        Returns both names. ``flat`` codes are ``[N, K]``. Raises UnsupportedError when K is not a
        multiple of a block.
        """
        rows, columns = matrix.shape
        block = self.block_size(columns)
        if not block:
            raise UnsupportedError(f"{name} has rows of {columns} values, no multiple of {BLOCK}")
        scales: list[npt.NDArray[np.float32]] = []

        def codes() -> Iterator[npt.NDArray[np.uint8]]:
            for piece in matrix.pieces():
                packed, piece_scales = quantize_rows(piece.values, block)
                scales.append(piece_scales)
                yield packed
                self._advance(piece.stored_bytes)

        blocks = columns // block
        shape = (rows, columns) if flat else (rows, blocks, block)
        stored = self._data.write(f"{name}_Q8", np.uint8, shape, codes())
        stored_scales = self._data.write(f"{name}_scales", np.float32, (rows, blocks), scales)
        self._record(name, 8, matrix)
        self.tensors += [stored, stored_scales]
        return stored.name, stored_scales.name

    def four_bit_matrix(self, name: str, matrix: Matrix) -> StoredBlocks:
        """Stores a matrix in the layout of MatMulNBits.

        One that has a coding stays as it is. Another one is rounded. Raises UnsupportedError when
        K is not a multiple of a block.
        """
        coding = matrix.coding or ROUNDED
        arrange = symmetric_rows if coding.symmetric else rows_with_means
        rows, columns = matrix.shape
        if columns % coding.block:
            raise UnsupportedError(f"{name} has rows of {columns} values, no multiple of {BLOCK}")
        read = columns if coding.symmetric else columns + columns // coding.block
        blocks = -(-read // coding.block)
        scales: list[npt.NDArray[np.float32]] = []
        zero_points: list[npt.NDArray[np.uint8]] = []

        def codes() -> Iterator[npt.NDArray[np.uint8]]:
            for piece in matrix.coded_pieces() if matrix.coding else _rounded_pieces(matrix):
                arranged = arrange(piece.rows)
                scales.append(arranged.scales)
                zero_points.append(arranged.zero_points)
                yield arranged.codes
                self._advance(piece.stored_bytes)

        write = self._data.write
        self.tensors += [
            write(f"{name}_Q4", np.uint8, (rows, blocks, coding.block // 2), codes()),
            write(f"{name}_scales", np.float32, (rows, blocks), scales),
        ]
        self._record(name, 4, matrix)
        inputs = [f"{name}_Q4", f"{name}_scales"]
        if not coding.symmetric:
            shape = (rows, -(-blocks // 2))
            self.tensors.append(write(f"{name}_zero_points", np.uint8, shape, zero_points))
            inputs.append(f"{name}_zero_points")
        return StoredBlocks(inputs, (rows, read), 4, coding.block, means=not coding.symmetric)

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
        self._record(name, 8, matrix)
        transposed = codes.T
        stored = self._data.write(f"{name}_S8", np.int8, transposed.shape, [transposed])
        self.tensors.append(stored)
        return stored.name, self.constant(f"{name}_scales", scales)

    def _record(self, name: str, bits: int, matrix: Matrix) -> None:
        sources = tuple((part.kind_name, math.prod(part.shape)) for part in matrix.parts)
        self.matrices.append(StoredWeights(name, bits, sources))

    def view(self, of: str, name: str, shape: tuple[int, ...]) -> str:
        """Gives the bytes of the initializer ``of`` a second name and shape."""
        (original,) = (tensor for tensor in self.tensors if tensor.name == of)
        self.tensors.append(reshaped(original, name, shape))
        return name


def _rounded_pieces(matrix: Matrix) -> Iterator[CodedPiece]:
    """The matrix, rounded to four bits."""
    for piece in matrix.pieces():
        yield CodedPiece(nearest_codes(piece.values), piece.stored_bytes)
