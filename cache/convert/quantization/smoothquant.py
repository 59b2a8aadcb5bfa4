"""Moves the spread of activations into the weights, so that both survive rounding to 8 bits.

ONNX Runtime's fast kernels also round activations to 8 bits, in blocks of 32 channels. A channel
that is a thousand times its neighbours takes all of their precision. In three places a channel can
be divided by a factor on one side and multiplied by it on the other without any change to the
model: between a norm and the projections that read it, between v and o, and between up and down
(SmoothQuant, https://arxiv.org/abs/2211.10438, with its factor ``max|x|^a / max|w|^(1-a)``). The
factors are powers of two, so that not even a rounding error of float32 is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cupola.cache.convert.quantization.layer_inputs import LayerInputs
from cupola.cache.convert.weights.decoder_weights import (
    ATTENTION_NORM,
    MLP_NORM,
    ChangedWeights,
    DecoderWeights,
    Projection,
    Vector,
)
from cupola.cache.convert.weights.matrix import Matrix

_ALPHA = 0.5  # a in the formula: the share of the spread that the weights take over
_TINY = 1e-5
_MAX_EXPONENT = 20  # of two: the limit of a factor


class SmoothedWeights(ChangedWeights):
    """The same function as ``plain``, with activations of less spread."""

    def __init__(self, plain: DecoderWeights, inputs: Sequence[LayerInputs]) -> None:
        """``inputs``: one a layer, what the projections of ``plain`` read in a text."""
        super().__init__(plain)
        self._factors = [
            self._layer_factors(layer, of_layer) for layer, of_layer in enumerate(inputs)
        ]

    def norm(self, layer: int, name: str) -> Vector:
        plain, factors = self.plain.norm(layer, name), self._factors[layer]
        if name == ATTENTION_NORM:
            return plain / factors.qkv
        if name == MLP_NORM:
            return plain / factors.mlp
        return plain

    def projection(self, layer: int, which: Projection) -> Matrix:
        matrix, factors = self.plain.projection(layer, which), self._factors[layer]
        match which:
            case Projection.QKV:
                rows = np.reciprocal(self._qkv_rows(factors.value))
                return replace(matrix, row_factors=rows, column_factors=factors.qkv)
            case Projection.OUTPUT:
                return replace(matrix, column_factors=self._spread_to_heads(factors.value))
            case Projection.GATE:
                return replace(matrix, column_factors=factors.mlp)
            case Projection.UP:
                rows = np.reciprocal(factors.down)
                return replace(matrix, row_factors=rows, column_factors=factors.mlp)
            case Projection.DOWN:
                return replace(matrix, column_factors=factors.down)

    def qkv_bias(self, layer: int) -> Vector | None:
        bias = self.plain.qkv_bias(layer)
        return None if bias is None else bias / self._qkv_rows(self._factors[layer].value)

    def _layer_factors(self, layer: int, inputs: LayerInputs) -> _Factors:
        shape = self.shape
        by_head = (shape.kv_heads, shape.heads // shape.kv_heads, shape.head_size)

        def peaks(which: Projection) -> Vector:
            return self.plain.projection(layer, which).column_peaks()

        output = peaks(Projection.OUTPUT).reshape(by_head).max(axis=1)
        values = _peaks(inputs.output).reshape(by_head).max(axis=1)
        mlp = np.maximum(peaks(Projection.GATE), peaks(Projection.UP))
        return _Factors(
            qkv=_factors(_peaks(inputs.qkv), peaks(Projection.QKV)),
            # One K/V head feeds several query heads.
            value=_factors(values.ravel(), output.ravel()),
            mlp=_factors(_peaks(inputs.mlp), mlp),
            down=_factors(_peaks(inputs.down), peaks(Projection.DOWN)),
        )

    def _qkv_rows(self, value: Vector) -> Vector:
        """1 for the rows of q and k, ``value`` for those of v."""
        others = (self.shape.heads + self.shape.kv_heads) * self.shape.head_size
        return np.concatenate([np.ones(others, np.float32), value])

    def _spread_to_heads(self, value: Vector) -> Vector:
        """``[kv_heads * head_size]`` to ``[heads * head_size]``, as attention repeats v."""
        shape = self.shape
        by_kv_head = value.reshape(shape.kv_heads, 1, shape.head_size)
        return by_kv_head.repeat(shape.heads // shape.kv_heads, axis=1).ravel()


@dataclass(frozen=True, slots=True)
class _Factors:
    """The divisors of a layer's activations."""

    qkv: Vector  # [hidden]
    value: Vector  # [kv_heads * head_size]
    mlp: Vector  # [hidden]
    down: Vector  # [intermediate]


def _peaks(inputs: Vector) -> Vector:
    """The largest magnitude of each channel of ``inputs [tokens, K]``: ``[K]``."""
    peaks: Vector = np.abs(inputs).max(axis=0)
    return peaks


def _factors(activations: Vector, weights: Vector) -> Vector:
    """Powers of two near ``activations^a / weights^(1-a)``, around 1: all three ``[K]``."""
    exponents = _ALPHA * np.log2(np.maximum(activations, _TINY))
    exponents -= (1 - _ALPHA) * np.log2(np.maximum(weights, _TINY))
    exponents = np.rint(exponents - exponents.mean())
    factors: Vector = np.exp2(np.clip(exponents, -_MAX_EXPONENT, _MAX_EXPONENT)).astype(np.float32)
    return factors
