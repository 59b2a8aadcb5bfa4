"""What a decoder's graph needs of its weights, and the base of weights that change others."""

from __future__ import annotations

import enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.weights.decoder_shape import DecoderShape
from cupola.cache.convert.weights.matrix import Matrix

Vector = npt.NDArray[np.float32]

# The norms in front of a layer's two halves, by their names in a GGUF.
ATTENTION_NORM = "attn_norm"
MLP_NORM = "ffn_norm"
# Those behind the halves, in front of the sum with the residual stream.
ATTENTION_POST_NORM = "post_attention_norm"
MLP_POST_NORM = "post_ffw_norm"


class Projection(enum.Enum):
    """A linear layer inside a decoder layer, by its name in a GGUF."""

    QKV = "attn_qkv"  # [(heads + 2 kv_heads) * head_size, hidden]: queries, keys, values
    OUTPUT = "attn_output"  # [hidden, heads * head_size]
    GATE = "ffn_gate"  # [intermediate, hidden]
    UP = "ffn_up"  # [intermediate, hidden]
    DOWN = "ffn_down"  # [hidden, intermediate]


class DecoderWeights(Protocol):
    """The weights of a decoder, in the order of rows and channels that its graph computes in.

    All methods raise BrokenFileError for a tensor that is missing, has another shape or holds
    values that are not finite.
    """

    @property
    def shape(self) -> DecoderShape: ...

    @property
    def tied(self) -> bool:
        """Whether the output layer is the embedding."""

    def embedding(self) -> Matrix:
        """``[vocabulary, hidden]``."""

    def head(self) -> Matrix:
        """The output layer ``[vocabulary, hidden]`` of weights that are not tied."""

    def head_rotation(self) -> Vector | None:
        """``[hidden, hidden]``: multiplies the last norm's output before a tied head.

        None: there is no such product.
        """

    def final_norm(self) -> Vector:
        """The weights of the last norm, ``[hidden]``."""

    def norm(self, layer: int, name: str) -> Vector:
        """The weights of a norm of the residual stream, ``[hidden]``, by its name in a GGUF."""

    def head_norm(self, layer: int, name: str) -> Vector:
        """The weights of a norm that all heads share, ``[head_size]``, by its name in a GGUF."""

    def projection(self, layer: int, which: Projection) -> Matrix: ...

    def qkv_bias(self, layer: int) -> Vector | None:
        """``[(heads + 2 kv_heads) * head_size]``. None: there is no bias."""


class ChangedWeights:
    """Weights that pass on other weights. A subclass overrides what it changes."""

    def __init__(self, plain: DecoderWeights) -> None:
        self.plain = plain

    @property
    def shape(self) -> DecoderShape:
        return self.plain.shape

    @property
    def tied(self) -> bool:
        return self.plain.tied

    def embedding(self) -> Matrix:
        return self.plain.embedding()

    def head(self) -> Matrix:
        return self.plain.head()

    def head_rotation(self) -> Vector | None:
        return self.plain.head_rotation()

    def final_norm(self) -> Vector:
        return self.plain.final_norm()

    def norm(self, layer: int, name: str) -> Vector:
        return self.plain.norm(layer, name)

    def head_norm(self, layer: int, name: str) -> Vector:
        return self.plain.head_norm(layer, name)

    def projection(self, layer: int, which: Projection) -> Matrix:
        return self.plain.projection(layer, which)

    def qkv_bias(self, layer: int) -> Vector | None:
        return self.plain.qkv_bias(layer)
