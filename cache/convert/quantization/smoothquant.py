"""Moves the spread of activations into the weights, so that both survive rounding to 8 bits.

ONNX Runtime's fast kernels round activations to 8 bits as well, in blocks of 32 channels; a channel
that is a thousand times its neighbours takes all of their precision. Between a norm and the
projections that read it, between v and o, and between up and down, a channel can be divided by a
factor on one side and multiplied by it on the other without any change to the model (SmoothQuant,
https://arxiv.org/abs/2211.10438, with its factor ``max|x|^a / max|w|^(1-a)``). Factors are powers
of two, so that not even a rounding error of float32 is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.architecture import DecoderWeights, Matrix

_SHARE = 0.5  # of the spread that the weights take over, a in the formula
_TINY = 1e-5
_MAX_EXPONENT = 20  # of two: no channel is moved further than that

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """What a layer's projections read in a text, ``[tokens, channels]``."""

    qkv: Vector  # [tokens, hidden]
    output: Vector  # [tokens, heads * head_size]
    mlp: Vector  # [tokens, hidden], the input of gate and up
    down: Vector  # [tokens, intermediate]


class SmoothedWeights(DecoderWeights):
    """The weights of the same decoder with activations of less spread."""

    def __init__(self, plain: DecoderWeights, seen: Sequence[LayerInputs]) -> None:
        super().__init__(plain.gguf)
        self._factors = [
            self._layer_factors(plain, layer, inputs) for layer, inputs in enumerate(seen)
        ]

    def norm(self, layer: int, which: str) -> Vector:
        factors = self._factors[layer].qkv if which == "attn" else self._factors[layer].mlp
        return super().norm(layer, which) / factors

    def qkv(self, layer: int) -> Matrix:
        factors = self._factors[layer]
        rows = np.reciprocal(self._qkv_outputs(factors.value))
        return replace(super().qkv(layer), rows=rows, columns=factors.qkv)

    def qkv_bias(self, layer: int) -> Vector | None:
        bias = super().qkv_bias(layer)
        return None if bias is None else bias / self._qkv_outputs(self._factors[layer].value)

    def attention_output(self, layer: int) -> Matrix:
        columns = self._spread_to_heads(self._factors[layer].value)
        return replace(super().attention_output(layer), columns=columns)

    def gate(self, layer: int) -> Matrix:
        return replace(super().gate(layer), columns=self._factors[layer].mlp)

    def up(self, layer: int) -> Matrix:
        factors = self._factors[layer]
        return replace(super().up(layer), rows=np.reciprocal(factors.down), columns=factors.mlp)

    def down(self, layer: int) -> Matrix:
        return replace(super().down(layer), columns=self._factors[layer].down)

    def _layer_factors(self, plain: DecoderWeights, layer: int, seen: LayerInputs) -> _Factors:
        shape = self.shape
        by_head = (shape.kv_heads, shape.heads // shape.kv_heads, shape.head_size)
        output = plain.attention_output(layer).column_peaks().reshape(by_head).max(axis=1)
        mlp = np.maximum(plain.gate(layer).column_peaks(), plain.up(layer).column_peaks())
        values = _peaks(seen.output).reshape(by_head).max(axis=1)
        return _Factors(
            qkv=_factors(_peaks(seen.qkv), plain.qkv(layer).column_peaks()),
            # One K/V head feeds several query heads.
            value=_factors(values.ravel(), output.ravel()),
            mlp=_factors(_peaks(seen.mlp), mlp),
            down=_factors(_peaks(seen.down), plain.down(layer).column_peaks()),
        )

    def _qkv_outputs(self, value: Vector) -> Vector:
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
    """What activations are divided by."""

    qkv: Vector  # [hidden]
    value: Vector  # [kv_heads * head_size]
    mlp: Vector  # [hidden]
    down: Vector  # [intermediate]


def _peaks(inputs: Vector) -> Vector:
    peaks: Vector = np.abs(inputs).max(axis=0)
    return peaks


def _factors(activations: Vector, weights: Vector) -> Vector:
    """Powers of two near ``activations^a / weights^(1-a)``, around 1."""
    wanted = _SHARE * np.log2(np.maximum(activations, _TINY))
    wanted -= (1 - _SHARE) * np.log2(np.maximum(weights, _TINY))
    exponents = np.clip(np.rint(wanted - wanted.mean()), -_MAX_EXPONENT, _MAX_EXPONENT)
    factors: Vector = np.exp2(exponents).astype(np.float32)
    return factors
