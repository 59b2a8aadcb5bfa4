"""The weights of a decoder, most of them to be rounded to four bits.

As in llama.cpp's Q4_K_M, the values of attention and the down projections are the sensitive ones.
In the first eighth, the last eighth and every third of the other layers they keep eight bits.
"""

from __future__ import annotations

from dataclasses import replace

from cupola.cache.convert.weights.decoder_weights import ChangedWeights, Projection
from cupola.cache.convert.weights.matrix import Matrix

_SENSITIVE = (Projection.QKV, Projection.DOWN)


class FourBitWeights(ChangedWeights):
    """The same weights. The matrices say how they are to be rounded."""

    def projection(self, layer: int, which: Projection) -> Matrix:
        matrix = self.plain.projection(layer, which)
        if which in _SENSITIVE and keeps_more_bits(layer, self.shape.layers):
            return matrix
        return replace(matrix, four_bits=True)


def keeps_more_bits(layer: int, layers: int) -> bool:
    """Whether the sensitive weights of a layer keep eight bits."""
    edge = layers // 8
    return layer < edge or layer >= 7 * layers // 8 or (layer - edge) % 3 == 2
