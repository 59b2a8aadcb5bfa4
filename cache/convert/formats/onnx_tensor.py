"""The weights of an ONNX graph as tensors of a file: floats, or blocks of eight bits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_blocks import CodedRows, Coding
from cupola.cache.errors import BrokenFileError

Array = npt.NDArray[np.float32]

_MIDDLE = 128  # the code of zero where a graph does not say another


@dataclass(frozen=True, slots=True)
class OnnxMatrix:
    """``[N, K]`` of floats in 16 or 32 bits, or of codes in eight with a scale for each block."""

    name: str
    values: npt.NDArray[np.generic]  # floats [N, K], or codes [N, K]
    kind_name: str
    scales: Array | None = None  # [N, K / block]; None: the values are floats
    coding: Coding | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def row_count(self) -> int:
        return len(self.values)

    @property
    def row_bytes(self) -> int:
        return int(self.values.shape[1]) * self.values.itemsize

    def rows(self, start: int = 0, stop: int | None = None) -> Array:
        """See ``Tensor``."""
        values: Array = self.values[start:stop].astype(np.float32)
        if self.scales is not None:
            block = values.shape[1] // self.scales.shape[1]
            values = (values - np.float32(_MIDDLE)) * self.scales[start:stop].repeat(block, axis=1)
        if not np.isfinite(values).all():
            raise BrokenFileError(f"'{self.name}' has values that are not finite")
        return values

    def coded_rows(self, start: int = 0, stop: int | None = None) -> CodedRows:
        raise NotImplementedError  # there is no coding

    def cut(self, start: int, stop: int) -> OnnxMatrix:
        """See ``Tensor``."""
        scales = None if self.scales is None else self.scales[start:stop]
        return replace(self, values=self.values[start:stop], scales=scales)
