"""The weights of one linear layer. They are read, changed and handed on in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_blocks import CodedRows, Coding
from cupola.cache.convert.formats.tensor import Tensor
from cupola.cache.convert.weights.rotation import rotate

_PIECE_VALUES = 1 << 20  # read, dequantised and written in one piece: 4 MB as float32

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear layer's weights ``[N, K]``: one tensor, or several stacked along N.

    The factors are applied before the rotations.
    """

    parts: tuple[Tensor, ...]
    row_orders: tuple[npt.NDArray[np.int64] | None, ...]  # one a part; None: as in the file
    row_factors: Array | None = None  # [N]: each row is multiplied by its factor
    column_factors: Array | None = None  # [K]: each column is multiplied by its factor
    rotated_inputs: int = 0  # the channels of a group that is rotated, of what the layer reads
    rotated_outputs: int = 0  # the channels of a group that is rotated, of what it writes
    rotated_from: int = 0  # the first row that rotated_outputs applies to
    inputs: Array | None = None  # [tokens, K]: what the layer reads in the calibration text
    four_bits: bool = False  # weights that are stored in more bits are to be rounded to four

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, K)``."""
        return sum(part.row_count for part in self.parts), self.parts[0].shape[-1]

    @property
    def stored_bytes(self) -> int:
        """The size of the parts in the file."""
        return sum(part.row_count * part.row_bytes for part in self.parts)

    def pieces(self) -> Iterator[MatrixPiece]:
        """The matrix in pieces of a few MB, from its first row to its last.

        A matrix with rotated outputs is one piece: each of its rows depends on all others.
        """
        if self.rotated_outputs:
            values = replace(self, rotated_outputs=0).whole()
            rows = values[self.rotated_from :].T
            values[self.rotated_from :] = rotate(rows, self.rotated_outputs).T
            yield MatrixPiece(values, self.stored_bytes)
            return
        done = 0
        for part, order, start, stop in self._slices():
            values = part.rows(start, stop)
            if order is not None:
                values = values[order]
            if self.column_factors is not None:
                values = values * self.column_factors
            if self.row_factors is not None:
                values = values * self.row_factors[done : done + len(values), None]
            if self.rotated_inputs:
                values = rotate(values, self.rotated_inputs)
            done += len(values)
            yield MatrixPiece(values, (stop - start) * part.row_bytes)

    @property
    def coding(self) -> Coding | None:
        """How all rows are stored, if the layer can read them as they are."""
        if self._is_changed:
            return None
        first, *others = (part.coding for part in self.parts)
        return first if all(other == first for other in others) else None

    def by_coding(self) -> list[Matrix]:
        """The matrix cut along N into as few matrices as possible that each have one coding."""
        if self._is_changed:
            return [self]
        parts = zip(self.parts, self.row_orders, strict=True)
        groups = [list(group) for _, group in groupby(parts, key=lambda each: each[0].coding)]
        matrices = []
        for group in groups:
            tensors, orders = zip(*group, strict=True)
            matrices.append(replace(self, parts=tensors, row_orders=orders))
        return matrices

    def coded_pieces(self) -> Iterator[CodedPiece]:
        """As ``pieces``, of a matrix that has a coding."""
        for part, order, start, stop in self._slices():
            rows = part.coded_rows(start, stop)
            if order is not None:
                rows = CodedRows(rows.codes[order], rows.scales[order], rows.offsets[order])
            yield CodedPiece(rows, (stop - start) * part.row_bytes)

    @property
    def _is_changed(self) -> bool:
        has_factors = self.row_factors is not None or self.column_factors is not None
        return has_factors or bool(self.rotated_inputs or self.rotated_outputs)

    def _slices(self) -> Iterator[tuple[Tensor, npt.NDArray[np.int64] | None, int, int]]:
        """The rows of each piece: a part, its order, first row and last row."""
        step = max(1, _PIECE_VALUES // self.shape[1])
        for part, order in zip(self.parts, self.row_orders, strict=True):
            # Reordered rows need their whole tensor.
            size = step if order is None else part.row_count
            for start in range(0, part.row_count, size):
                yield part, order, start, min(start + size, part.row_count)

    def whole(self) -> Array:
        """The matrix as float32 ``[N, K]``."""
        return np.concatenate([piece.values for piece in self.pieces()])

    def column_peaks(self) -> Array:
        """The largest magnitude in each column, ``[K]``."""
        peaks = np.zeros(self.shape[1], np.float32)
        for piece in self.pieces():
            np.maximum(peaks, np.abs(piece.values).max(axis=0), out=peaks)
        return peaks


@dataclass(frozen=True, slots=True)
class MatrixPiece:
    """Some rows of a matrix."""

    values: Array  # [rows, K]
    stored_bytes: int  # their size in the file


@dataclass(frozen=True, slots=True)
class CodedPiece:
    """Some rows of a matrix as they are stored."""

    rows: CodedRows
    stored_bytes: int  # their size in the file
