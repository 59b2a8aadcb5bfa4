"""The weights of a decoder whose residual stream is turned; see rotation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cupola.cache.convert.architecture import DecoderWeights, Matrix
from cupola.cache.convert.quantization.rotation import turned
from cupola.cache.convert.quantization.smoothquant import Vector


class RotatedWeights(DecoderWeights):
    """The same function as ``plain``, with norms that have no weights of their own."""

    def __init__(self, plain: DecoderWeights) -> None:
        super().__init__(plain.gguf)
        self._used = plain._used
        self._plain = plain

    def embedding(self) -> Matrix:
        return replace(self._plain.embedding(), turned_inputs=self.shape.hidden)

    def head(self) -> Matrix:
        return self._reading(self._plain.head(), self._plain.final_norm())

    def head_turn(self) -> Vector | None:
        """A tied head cannot take the last norm's weights in: the embedding has none."""
        size = self.shape.hidden
        return turned(turned(np.diag(self._plain.final_norm()), size).T, size)

    def final_norm(self) -> Vector:
        return np.ones(self.shape.hidden, np.float32)

    def norm(self, layer: int, which: str) -> Vector:
        return np.ones(self.shape.hidden, np.float32)

    def qkv(self, layer: int) -> Matrix:
        return self._reading(self._plain.qkv(layer), self._plain.norm(layer, "attn"))

    def qkv_bias(self, layer: int) -> Vector | None:
        return self._plain.qkv_bias(layer)

    def attention_output(self, layer: int) -> Matrix:
        return replace(self._plain.attention_output(layer), turned_outputs=self.shape.hidden)

    def gate(self, layer: int) -> Matrix:
        return self._reading(self._plain.gate(layer), self._plain.norm(layer, "ffn"))

    def up(self, layer: int) -> Matrix:
        return self._reading(self._plain.up(layer), self._plain.norm(layer, "ffn"))

    def down(self, layer: int) -> Matrix:
        return replace(self._plain.down(layer), turned_outputs=self.shape.hidden)

    def _reading(self, matrix: Matrix, norm: Vector) -> Matrix:
        columns = norm if matrix.columns is None else norm * matrix.columns
        return replace(matrix, columns=columns, turned_inputs=self.shape.hidden)
