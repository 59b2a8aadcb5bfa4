"""The weights of a decoder, most of them to be rounded to four bits.

As in llama.cpp's Q4_K_M, the values of attention and the down projections are the sensitive ones.
In the first eighth, the last eighth and every third of the other layers they keep eight bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cupola.cache.convert.quantization.layer_inputs import LayerInputs
from cupola.cache.convert.weights.decoder_weights import (
    ChangedWeights,
    DecoderWeights,
    Projection,
    Vector,
)
from cupola.cache.convert.weights.matrix import Matrix

_SENSITIVE = (Projection.QKV, Projection.DOWN)


class FourBitWeights(ChangedWeights):
    """The same function as ``plain``. The matrices say how they are to be rounded."""

    def __init__(self, plain: DecoderWeights, inputs: Sequence[LayerInputs] | None) -> None:
        """``inputs``: one a layer, what the projections of ``plain`` read in a text."""
        super().__init__(plain)
        self._inputs = inputs

    def projection(self, layer: int, which: Projection) -> Matrix:
        matrix = self.plain.projection(layer, which)
        if which in _SENSITIVE and keeps_more_bits(layer, self.shape.layers):
            return matrix
        return replace(matrix, four_bits=True, inputs=self._read_by(layer, which, matrix))

    def _read_by(self, layer: int, which: Projection, matrix: Matrix) -> Vector | None:
        if self._inputs is None:
            return None
        inputs = self._inputs[layer]
        read = {
            Projection.QKV: inputs.qkv,
            Projection.OUTPUT: inputs.output,
            Projection.GATE: inputs.mlp,
            Projection.UP: inputs.mlp,
            Projection.DOWN: inputs.down,
        }[which]
        return read if matrix.column_factors is None else read / matrix.column_factors


def keeps_more_bits(layer: int, layers: int) -> bool:
    """Whether the sensitive weights of a layer keep eight bits."""
    edge = layers // 8
    return layer < edge or layer >= 7 * layers // 8 or (layer - edge) % 3 == 2
