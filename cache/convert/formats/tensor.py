"""A tensor in a file, of whatever format."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_blocks import CodedRows, Coding


class Tensor(Protocol):
    """It stays as it is stored, and on the disk, until its rows are read.

    A vector has one row.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """As NumPy counts: the last dimension is contiguous."""

    @property
    def kind_name(self) -> str:
        """The type in which it is stored, for people: "Q4_K", "BF16", ..."""

    @property
    def row_count(self) -> int: ...

    @property
    def row_bytes(self) -> int:
        """The size of a row as it is stored."""

    @property
    def coding(self) -> Coding | None:
        """How weights of four bits are stored. None: in more bits, or in another way."""

    def rows(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Rows ``start`` to ``stop`` as float32 ``[rows, columns]``.

        Raises BrokenFileError for values that are not finite, UnsupportedError for a type that
        cannot be read.
        """

    def coded_rows(self, start: int = 0, stop: int | None = None) -> CodedRows:
        """Rows ``start`` to ``stop`` as they are stored. The tensor must have a coding.

        Raises BrokenFileError for values that are not finite.
        """

    def cut(self, start: int, stop: int) -> Tensor:
        """The matrix of its rows ``start`` to ``stop``."""
