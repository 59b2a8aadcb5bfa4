"""How a decoder's weight matrices are stored. Imports nothing heavy: the catalog imports it."""

from __future__ import annotations

import enum


class Precision(enum.StrEnum):
    """The precision of the weights. Norms, biases and activations between operators are float32."""

    FP32 = "fp32"
    # Stored in 16 bits. ONNX Runtime's CPU kernels make 32 of them when the model is loaded.
    FP16 = "fp16"
    INT8 = "int8"
    # Four bits, and eight where a file or the converter keeps more for sensitive weights. The
    # embedding is stored as in INT8.
    INT4 = "int4"
    # Integers on both sides: 8 bits a weight with one scale an output channel, and 8 bits an
    # activation with one scale for all tokens. The embedding is stored as in INT8.
    W8A8 = "w8a8"

    @property
    def bits(self) -> int:
        """The bits of most weights."""
        return {Precision.FP32: 32, Precision.FP16: 16, Precision.INT4: 4}.get(self, 8)

    @property
    def is_float(self) -> bool:
        return self in (Precision.FP32, Precision.FP16)
