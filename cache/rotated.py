"""The weights of a decoder whose residual stream is turned; see rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cupola.cache.architecture import DecoderWeights, Matrix
from cupola.cache.rotation import turned
from cupola.cache.smoothing import LayerInputs, Vector


class RotatedWeights(DecoderWeights):
    """The same function as ``plain``, with norms that have no weights of their own.

    ``seen``: what this decoder's projections read in a text, before ``plain`` was smoothed. With it
    their matrices say what they read.
    """

    def __init__(self, plain: DecoderWeights, seen: Sequence[LayerInputs] | None = None) -> None:
        super().__init__(plain.gguf)
        self._used = plain._used
        self._plain = plain
        self._seen = seen

    def embedding(self) -> Matrix:
        return replace(self._plain.embedding(), turned_inputs=True)

    def head(self) -> Matrix:
        return _reading(self._plain.head(), self._plain.final_norm(), None)

    def head_turn(self) -> Vector | None:
        """A tied head cannot take the last norm's weights in: the embedding has none."""
        return turned(turned(np.diag(self._plain.final_norm())).T)

    def final_norm(self) -> Vector:
        return np.ones(self.shape.hidden, np.float32)

    def norm(self, layer: int, which: str) -> Vector:
        return np.ones(self.shape.hidden, np.float32)

    def qkv(self, layer: int) -> Matrix:
        inputs = None if self._seen is None else self._seen[layer].qkv
        return _reading(self._plain.qkv(layer), self._plain.norm(layer, "attn"), inputs)

    def qkv_bias(self, layer: int) -> Vector | None:
        return self._plain.qkv_bias(layer)

    def attention_output(self, layer: int) -> Matrix:
        matrix = replace(self._plain.attention_output(layer), turned_outputs=True)
        if self._seen is None:
            return matrix
        inputs = self._seen[layer].output
        return replace(matrix, inputs=inputs if matrix.columns is None else inputs / matrix.columns)

    def gate(self, layer: int) -> Matrix:
        inputs = None if self._seen is None else self._seen[layer].mlp
        return _reading(self._plain.gate(layer), self._plain.norm(layer, "ffn"), inputs)

    def up(self, layer: int) -> Matrix:
        inputs = None if self._seen is None else self._seen[layer].mlp
        return _reading(self._plain.up(layer), self._plain.norm(layer, "ffn"), inputs)

    def down(self, layer: int) -> Matrix:
        return replace(self._plain.down(layer), turned_outputs=True)


def _reading(matrix: Matrix, norm: Vector, inputs: Vector | None) -> Matrix:
    columns = norm if matrix.columns is None else norm * matrix.columns
    return replace(matrix, columns=columns, turned_inputs=True, inputs=inputs)
