"""The weights of a decoder's second graph, which reads few tokens at once.

Few tokens take as long as it takes to read the weights, so fewer bits are faster. The four bits of
the file stay in the MLPs, where most weights are. Both graphs share the keys and values, and the
first one has the values of a head smoothed and rotated. So attention does the same here. That
leaves no four bits of the file: it has eight.
"""

from __future__ import annotations

from dataclasses import replace

from cupola.cache.convert.weights.decoder_weights import (
    ChangedWeights,
    DecoderWeights,
    Projection,
    Vector,
)
from cupola.cache.convert.weights.matrix import Matrix


class FewTokenWeights(ChangedWeights):
    """The same function as ``plain``, over the keys and values of ``attention``."""

    def __init__(self, plain: DecoderWeights, attention: DecoderWeights) -> None:
        """``attention``: the same function, with the residual stream of ``plain``."""
        super().__init__(plain)
        self._attention = attention

    def projection(self, layer: int, which: Projection) -> Matrix:
        match which:
            case Projection.QKV:
                # Its column factors undo those of the norm in front, which stays plain here.
                return replace(self._attention.projection(layer, which), column_factors=None)
            case Projection.OUTPUT:
                return self._attention.projection(layer, which)
            case _:
                return self.plain.projection(layer, which)

    def qkv_bias(self, layer: int) -> Vector | None:
        return self._attention.qkv_bias(layer)
