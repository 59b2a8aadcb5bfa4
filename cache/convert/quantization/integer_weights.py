"""The weights of a decoder as integer products want them: what they read is even everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cupola.cache.convert.architecture import DecoderWeights, Matrix
from cupola.cache.convert.quantization.rotated import RotatedWeights
from cupola.cache.convert.quantization.rotation import turned
from cupola.cache.convert.quantization.smoothquant import LayerInputs, Vector

# Channels that are turned together where the graph must do it. With 64 the KL divergence was an
# eighth lower; one sequence was slower by 4% in one comparison and not at all in two others.
_TOGETHER = 32


class IntegerWeights(RotatedWeights):
    """The same function as ``plain``, if the graph turns what the down projections read.

    Attention mixes the values of a head without looking at them: they are turned by their
    projection, and turned back by the one behind. Nothing is so simple about what the down
    projections read, by far the widest spread: the graph turns it, in small blocks.

    ``seen``: what the projections read in a text, before ``plain`` was smoothed. Matrices say what
    they read in it.
    """

    def __init__(self, plain: DecoderWeights, seen: Sequence[LayerInputs]) -> None:
        super().__init__(plain)
        self._seen = seen

    def qkv(self, layer: int) -> Matrix:
        return replace(
            super().qkv(layer),
            turned_outputs=self.shape.head_size,
            turned_from=self._first_value,
            inputs=self._seen[layer].qkv,
        )

    def qkv_bias(self, layer: int) -> Vector | None:
        bias = super().qkv_bias(layer)
        if bias is not None:
            bias[self._first_value :] = turned(bias[self._first_value :], self.shape.head_size)
        return bias

    def attention_output(self, layer: int) -> Matrix:
        matrix = super().attention_output(layer)
        return _turning(matrix, self.shape.head_size, self._seen[layer].output)

    def gate(self, layer: int) -> Matrix:
        return replace(super().gate(layer), inputs=self._seen[layer].mlp)

    def up(self, layer: int) -> Matrix:
        return replace(super().up(layer), inputs=self._seen[layer].mlp)

    def down(self, layer: int) -> Matrix:
        size = math.gcd(self.shape.intermediate, _TOGETHER)
        return _turning(super().down(layer), size, self._seen[layer].down)

    @property
    def _first_value(self) -> int:
        """The first row of v, behind those of q and k."""
        return (self.shape.heads + self.shape.kv_heads) * self.shape.head_size


def _turning(matrix: Matrix, size: int, inputs: Vector) -> Matrix:
    if matrix.columns is not None:
        inputs = inputs / matrix.columns
    return replace(matrix, turned_inputs=size, inputs=turned(inputs, size))
