"""The shape of a decoder, from the metadata of its GGUF."""

from __future__ import annotations

import numpy as np

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.weights.decoder_shape import (
    MAX_HEAD_SIZE,
    MAX_LAYERS,
    MAX_SIZE,
    DecoderShape,
    Traits,
    attentions,
)
from cupola.cache.convert.weights.rope import (
    Array,
    Rope,
    frequencies,
    long_amplitude,
    yarn,
    yarn_amplitude,
)
from cupola.cache.errors import BrokenFileError, UnsupportedError

# Tensors that are no weights but divisors of the rotary frequencies.
ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")


def gguf_shape(gguf: GgufFile, traits: Traits) -> DecoderShape:
    """The shape that the metadata of ``gguf`` describes.

    Raises BrokenFileError for missing or impossible sizes, UnsupportedError for metadata that
    changes the mathematics in a way that no block implements.
    """
    with np.errstate(all="ignore"):  # what is not finite is refused
        return _Reading(gguf, traits).shape()


class _Reading:
    def __init__(self, gguf: GgufFile, traits: Traits) -> None:
        self._gguf = gguf
        self._traits = traits
        self._name = gguf.architecture

    def shape(self) -> DecoderShape:
        hidden, heads = self._size("embedding_length"), self._size("attention.head_count")
        head_size = self._size("attention.key_length", hidden // heads or 1, limit=MAX_HEAD_SIZE)
        embedding = self._gguf.tensors.get("token_embd.weight")
        if embedding is None:
            raise BrokenFileError(f"{self._gguf.path} lacks the tensor 'token_embd.weight'")
        self._refuse_unknown(head_size)
        layers = self._size("block_count", limit=MAX_LAYERS)
        context = self._size("context_length")
        window = self._integer("attention.sliding_window", 0)
        of_layers = attentions(
            layers,
            self._traits,
            window if window < context else 0,
            full=self._full_layers(layers),
            rotated=None,
        )
        ropes = {"global": self._rope(head_size, context)}
        if any(each.rope == "local" for each in of_layers):
            base = self._number("rope.freq_base_swa", self._traits.local_rope_base)
            ropes["local"] = Rope(frequencies(base, head_size))
        embedding_scale = hidden**0.5 if self._traits.scaled_embedding else 1.0
        shape = DecoderShape(
            layers=layers,
            heads=heads,
            kv_heads=self._size("attention.head_count_kv", heads),
            head_size=head_size,
            hidden=hidden,
            intermediate=self._size("feed_forward_length"),
            vocabulary=embedding.shape[0],
            context_length=context,
            norm_epsilon=self._number("attention.layer_norm_rms_epsilon"),
            ropes=ropes,
            attentions=of_layers,
            score_scale=self._number("attention.scale", 0.0) or self._score_scale(layers, hidden),
            embedding_scale=self._number("embedding_scale", embedding_scale),
            residual_scale=self._number("residual_scale", 1.0),
            logit_divisor=self._number("logit_scale", 1.0) or 1.0,
            score_cap=self._number("attn_logit_softcapping", 0.0),
            logit_cap=self._number("final_logit_softcapping", 0.0),
        )
        shape.check(self._gguf.path)
        return shape

    def _integer(self, key: str, default: int | None = None) -> int:
        return self._gguf.get(f"{self._name}.{key}", int, default)

    def _number(self, key: str, default: float | None = None) -> float:
        return self._gguf.get(f"{self._name}.{key}", float, default)

    def _size(self, key: str, default: int | None = None, *, limit: int = MAX_SIZE) -> int:
        value = self._integer(key, default)
        if not 1 <= value <= limit:
            raise BrokenFileError(f"{self._gguf.path}: '{self._name}.{key}' is {value}")
        return value

    def _score_scale(self, layers: int, hidden: int) -> float:
        """Gemma's 27B models scale by another size than that of their heads, and only they."""
        heads = self._size("attention.head_count")
        size = self._size("attention.key_length", hidden // heads or 1)
        largest = {"gemma2": 46, "gemma3": 62}
        if largest.get(self._name) == layers:
            size = hidden // heads
        return float(size**-0.5)

    def _full_layers(self, layers: int) -> list[bool] | None:
        """The layers that see all tokens, if the file lists them."""
        key = f"{self._name}.attention.sliding_window_pattern"
        pattern = self._gguf.metadata.get(key)
        if not isinstance(pattern, list):
            return None
        if len(pattern) != layers:
            raise BrokenFileError(f"{self._gguf.path}: '{key}' has {len(pattern)} layers")
        return [not each for each in pattern]

    def _rope(self, head_size: int, context: int) -> Rope:
        size = self._size("rope.dimension_count", head_size, limit=head_size)
        base = self._number("rope.freq_base", 10000.0)
        plain = frequencies(base, size)
        scaling = self._gguf.get(f"{self._name}.rope.scaling.type", str, "none")
        if scaling == "linear":
            plain = plain / (self._number("rope.scaling.factor", 1.0) or 1.0)
        elif scaling == "yarn":
            factor = self._number("rope.scaling.factor", 1.0)
            trained = self._size("rope.scaling.original_context_length", context)
            return yarn(
                plain,
                base,
                factor,
                trained,
                fast=self._number("rope.scaling.yarn_beta_fast", 32.0),
                slow=self._number("rope.scaling.yarn_beta_slow", 1.0),
                # llama.cpp multiplies the paper's by it.
                amplitude=self._number("rope.scaling.attn_factor", 1.0) * yarn_amplitude(factor),
            )
        elif scaling not in ("none", "longrope"):
            raise UnsupportedError(
                f"{self._gguf.path} cannot be converted: rope scaling '{scaling}'"
            )
        llama3, short, long = (self._divisors(name, size // 2) for name in ROPE_TENSORS)
        if llama3 is not None:
            return Rope(plain / llama3)
        if short is None or long is None:
            return Rope(plain)
        trained = self._size("rope.scaling.original_context_length", context)
        amplitude = self._number("rope.scaling.attn_factor", 0.0)
        if trained >= context:
            return Rope(plain / short, amplitude or 1.0)
        return Rope(
            plain / short, amplitude or long_amplitude(context, trained), plain / long, trained
        )

    def _divisors(self, name: str, size: int) -> Array | None:
        tensor = self._gguf.tensors.get(name)
        if tensor is None:
            return None
        if tensor.shape != (size,):
            raise BrokenFileError(
                f"{self._gguf.path}: '{name}' has the shape {tensor.shape}, not {(size,)}"
            )
        divisors: Array = tensor.rows()[0].astype(np.float64)
        if not divisors.all():
            raise BrokenFileError(f"{self._gguf.path}: '{name}' has a zero")
        return divisors

    def _refuse_unknown(self, head_size: int) -> None:
        experts = self._integer("expert_count", 0)
        unknown = {
            f"{experts} experts": experts > 0,
            "keys and values of different sizes": (
                self._integer("attention.value_length", head_size) != head_size
            ),
        }
        for what, is_there in unknown.items():
            if is_there:
                raise UnsupportedError(f"{self._gguf.path} cannot be converted: {what}")
