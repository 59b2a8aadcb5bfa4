"""One tensor of a GGUF file, which is dequantised when its rows are read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from cupola.cache.convert.formats.gguf_blocks import CODINGS, CodedRows, Coding, coded_rows
from cupola.cache.errors import BrokenFileError, UnsupportedError

# Their weights are values of a table, some close together and some far apart.
_UNEVEN = frozenset(kind for kind in GGMLQuantizationType if kind.name.startswith("IQ"))


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor. It stays quantised and on the disk until its rows are read."""

    name: str
    shape: tuple[int, ...]  # as NumPy counts: the last dimension is contiguous
    kind: GGMLQuantizationType
    data: npt.NDArray[np.uint8]  # [rows, bytes of a row], a view of the mapped file

    @property
    def row_count(self) -> int:
        return len(self.data)

    @property
    def row_bytes(self) -> int:
        return int(self.data.shape[1])

    @property
    def kind_name(self) -> str:
        return self.kind.name

    @property
    def bits_per_weight(self) -> float:
        """With what the weights of a block share."""
        block, block_bytes = GGML_QUANT_SIZES[self.kind]
        return 8 * float(block_bytes) / float(block)

    @property
    def is_even(self) -> bool:
        """Whether the levels of a block lie evenly apart. Only then do four bits hold them."""
        return self.kind not in _UNEVEN

    def cut(self, start: int, stop: int) -> GgufTensor:
        """See ``Tensor``."""
        shape = (stop - start, self.shape[-1])
        return replace(self, shape=shape, data=self.data[start:stop])

    def rows(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Rows ``start`` to ``stop`` as float32 ``[rows, columns]``.

        Raises BrokenFileError for values that are not finite, UnsupportedError for a type that
        ``gguf`` cannot read.
        """
        with np.errstate(all="ignore"):  # a damaged scale is reported below, not warned about
            try:
                values = np.asarray(dequantize(self.data[start:stop], self.kind), dtype=np.float32)
            except NotImplementedError:
                raise UnsupportedError(
                    f"The tensor '{self.name}' is of the type {self.kind.name}, which cannot be "
                    "converted. Take a GGUF of another type, such as Q8_0 or Q4_K_M"
                ) from None
        if not np.isfinite(values).all():
            raise self._not_finite()
        return values

    @property
    def coding(self) -> Coding | None:
        """How the weights are stored. None: in more than four bits, or in another way."""
        return CODINGS.get(self.kind)

    def coded_rows(self, start: int = 0, stop: int | None = None) -> CodedRows:
        """Rows ``start`` to ``stop`` as they are stored. The tensor must have a coding.

        Raises BrokenFileError for values that are not finite.
        """
        with np.errstate(all="ignore"):  # as above
            rows = coded_rows(self.data[start:stop], self.kind)
        if not (np.isfinite(rows.scales).all() and np.isfinite(rows.offsets).all()):
            raise self._not_finite()
        return rows

    def _not_finite(self) -> BrokenFileError:
        return BrokenFileError(f"Tensor '{self.name}' has values that are not finite")
