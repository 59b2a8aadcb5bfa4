"""How a decoder's weight matrices are stored. Imports nothing heavy: the catalog names one."""

from __future__ import annotations

import enum


class Precision(enum.StrEnum):
    """Norms, biases and what lies between two operators are always float32."""

    FP32 = "fp32"
    INT8 = "int8"
    INT4 = "int4"
    # Integers on both sides: 8 bits a weight with a scale for each output channel, 8 bits an
    # activation of tokens that have one length. The embedding as in INT8.
    W8A8 = "w8a8"

    @property
    def bits(self) -> int:
        """Of a weight; in blocks where the matrix is stored in blocks."""
        return {Precision.FP32: 32, Precision.INT4: 4}.get(self, 8)
