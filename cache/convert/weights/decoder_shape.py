"""The sizes of a decoder, and the constants of its mathematics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cupola.cache.convert.weights.rope import Rope
from cupola.cache.errors import BrokenFileError, UnsupportedError

MAX_SIZE = 1 << 24  # of anything that has no other limit
MAX_LAYERS = 1 << 10
MAX_HEAD_SIZE = 1 << 12
_MAX_CONTEXT = 1 << 22


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """What distinguishes the attention of one layer from that of others."""

    window: int = 0  # the tokens that a token sees, with itself; 0: all
    rope: str = "global"  # a key of DecoderShape.ropes; empty: positions are not used


@dataclass(frozen=True, slots=True, eq=False)
class DecoderShape:
    """The sizes of a decoder, in channels, tokens or pieces."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    intermediate: int
    vocabulary: int
    context_length: int
    norm_epsilon: float
    ropes: Mapping[str, Rope]
    attentions: tuple[LayerAttention, ...]  # one a layer
    score_scale: float  # that products of queries and keys are multiplied by
    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # of what attention and MLP add to the stream
    logit_divisor: float = 1.0
    score_cap: float = 0.0  # scores become ``cap * tanh(score / cap)``; 0: they stay
    logit_cap: float = 0.0

    def check(self, path: object) -> None:
        """Raises BrokenFileError for impossible sizes, UnsupportedError for rare mathematics."""
        limits = dict.fromkeys(
            ("heads", "kv_heads", "hidden", "intermediate", "vocabulary"), MAX_SIZE
        ) | {
            "layers": MAX_LAYERS,
            "head_size": MAX_HEAD_SIZE,
            "context_length": _MAX_CONTEXT,
        }
        for name, limit in limits.items():
            if not 1 <= getattr(self, name) <= limit:
                raise BrokenFileError(f"{path}: its {name} is {getattr(self, name)}")
        numbers = (
            *(self.score_scale, self.embedding_scale, self.residual_scale, self.logit_divisor),
            *(self.score_cap, self.logit_cap),
        )
        finite = all(map(math.isfinite, numbers)) and self.logit_divisor != 0
        if not finite or not 0 < self.norm_epsilon < 1:
            raise BrokenFileError(f"{path}: a scale or an epsilon in its metadata is no number")
        if not all(rope.is_finite for rope in self.ropes.values()):
            raise BrokenFileError(f"{path}: its rotary positions have a wrong base or scaling")
        unknown = {
            "an odd head size": self.head_size % 2 == 1,
            "a number of heads that its K/V heads do not divide": self.heads % self.kv_heads != 0,
            "more rotary channels than a head has": any(
                2 * len(rope.frequencies) > self.head_size for rope in self.ropes.values()
            ),
            "ONNX Runtime cannot run heads whose rotary channels are no multiple of 16": any(
                len(rope.frequencies) % 8 for rope in self.ropes.values()
            ),
        }
        for what, is_there in unknown.items():
            if is_there:
                raise UnsupportedError(f"{path} cannot be converted: {what}")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a family's files do not say about themselves."""

    # In a GGUF: the two channels of a rotary pair are neighbours. llama.cpp reorders the rows of q
    # and k so for the architectures that it rotates in its "normal" way.
    interleaved_rotary: bool = False
    norms_from_one: bool = False  # in safetensors: a norm's weights are stored less 1
    # Each so many layers one sees all tokens and the others have the window, where the file does
    # not list them; 0: all layers have it.
    full_every: int = 0
    # Each so many layers one has no positions, where the file does not list them; 0: none.
    unrotated_every: int = 0
    local_rope_base: float = 0.0  # of layers with a window; 0: that of the others
    scaled_embedding: bool = False  # by the root of the hidden size
    tied: bool = False  # in safetensors: the head is the embedding, unless the config denies it
    activations: tuple[str, ...] = ("silu", "swish")  # in safetensors: the names of its MLP's one
    post_norms: bool = False  # attention and MLP have a norm behind them, too


def attentions(
    layers: int, traits: Traits, window: int, *, full: list[bool] | None, rotated: list[bool] | None
) -> tuple[LayerAttention, ...]:
    """The attention of each layer.

    ``full``: which layers see all tokens; None: what the family does. ``rotated``: which layers
    have positions.
    """
    if full is None:
        every = traits.full_every
        full = [every > 0 and (n + 1) % every == 0 for n in range(layers)]
    if rotated is None:
        every = traits.unrotated_every
        rotated = [every == 0 or (n + 1) % every != 0 for n in range(layers)]
    found = []
    for all_tokens, has_rope in zip(full, rotated, strict=True):
        size = 0 if all_tokens else window
        local = size > 0 and traits.local_rope_base > 0
        rope = "local" if local else "global"
        found.append(LayerAttention(size, rope if has_rope else ""))
    return tuple(found)
