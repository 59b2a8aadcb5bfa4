"""A linear layer's weights on their way from the GGUF: read, changed and handed on in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.gguf_file import GgufTensor
from cupola.cache.convert.quantization.rotation import turned

_VALUES_AT_ONCE = 1 << 20  # read, dequantised and written in one piece: 4 MB as float32

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear layer's weights ``[N, K]``: one tensor, or several stacked along N.

    The factors come before the turns.
    """

    parts: tuple[GgufTensor, ...]
    orders: tuple[npt.NDArray[np.int64] | None, ...]  # of each part's rows; None: as they are
    rows: Array | None = None  # what each row is multiplied by, [N]
    columns: Array | None = None  # and each column, [K]
    turned_inputs: int = 0  # what it reads is turned, so many channels together
    turned_outputs: int = 0  # what it writes is turned
    turned_from: int = 0  # from this row on
    inputs: Array | None = None  # what it reads in a text, [tokens, K]: rounding minds them

    @property
    def shape(self) -> tuple[int, int]:
        return sum(part.row_count for part in self.parts), self.parts[0].shape[-1]

    @property
    def stored_bytes(self) -> int:
        return sum(part.data.nbytes for part in self.parts)

    def pieces(self) -> Iterator[MatrixPiece]:
        """The matrix in a few MB at a time, from its first row to its last.

        One whose outputs are turned is one piece: each of its rows has something of all others.
        """
        if self.turned_outputs:
            values = replace(self, turned_outputs=0).whole()
            rows = values[self.turned_from :].T
            values[self.turned_from :] = turned(rows, self.turned_outputs).T
            yield MatrixPiece(values, self.stored_bytes)
            return
        step = max(1, _VALUES_AT_ONCE // self.shape[1])
        done = 0
        for part, order in zip(self.parts, self.orders, strict=True):
            # Rows that change places are read with their whole tensor.
            size = step if order is None else part.row_count
            for start in range(0, part.row_count, size):
                stop = min(start + size, part.row_count)
                values = part.rows(start, stop)
                if order is not None:
                    values = values[order]
                if self.columns is not None:
                    values = values * self.columns
                if self.rows is not None:
                    values = values * self.rows[done : done + len(values), None]
                if self.turned_inputs:
                    values = turned(values, self.turned_inputs)
                done += len(values)
                yield MatrixPiece(values, part.data[start:stop].nbytes)

    def whole(self) -> Array:
        return np.concatenate([piece.values for piece in self.pieces()])

    def column_peaks(self) -> Array:
        """The largest magnitude in each column, ``[K]``."""
        peaks = np.zeros(self.shape[1], np.float32)
        for piece in self.pieces():
            np.maximum(peaks, np.abs(piece.values).max(axis=0), out=peaks)
        return peaks


@dataclass(frozen=True, slots=True)
class MatrixPiece:
    values: Array  # [some rows, K]
    stored_bytes: int  # that they take in the GGUF
