"""The sizes of a decoder, from the metadata of its GGUF."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.errors import BrokenFileError, UnsupportedError

_MAX_SIZE = 1 << 20  # of anything: no model has a longer context or wider layers


@dataclass(frozen=True, slots=True)
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
    rope_base: float
    sliding_window: int  # the tokens that attention sees in the layers that have a window; 0: all


def read_shape(gguf: GgufFile) -> DecoderShape:
    """The shape that the metadata of ``gguf`` describes.

    Raises BrokenFileError for missing or impossible sizes, UnsupportedError for metadata that
    changes the mathematics in a way that no block implements.
    """
    name = gguf.architecture

    def size(key: str, default: int | None = None) -> int:
        value = gguf.get(f"{name}.{key}", int, default)
        if not 1 <= value <= _MAX_SIZE:
            raise BrokenFileError(f"{gguf.path}: '{name}.{key}' is {value}")
        return value

    hidden = size("embedding_length")
    heads = size("attention.head_count")
    head_size = size("attention.key_length", hidden // heads or 1)
    embedding = gguf.tensors.get("token_embd.weight")
    if embedding is None:
        raise BrokenFileError(f"{gguf.path} lacks the tensor 'token_embd.weight'")
    shape = DecoderShape(
        layers=size("block_count"),
        heads=heads,
        kv_heads=size("attention.head_count_kv", heads),
        head_size=head_size,
        hidden=hidden,
        intermediate=size("feed_forward_length"),
        vocabulary=embedding.shape[0],
        context_length=size("context_length"),
        norm_epsilon=gguf.get(f"{name}.attention.layer_norm_rms_epsilon", float),
        rope_base=gguf.get(f"{name}.rope.freq_base", float, 10000.0),
        sliding_window=gguf.get(f"{name}.attention.sliding_window", int, 0),
    )
    _refuse_unknown_mathematics(gguf, name, shape)
    return shape


def _refuse_unknown_mathematics(gguf: GgufFile, name: str, shape: DecoderShape) -> None:
    scaling = gguf.get(f"{name}.rope.scaling.type", str, "none")
    experts = gguf.get(f"{name}.expert_count", int, 0)
    unknown = {
        f"rope scaling '{scaling}'": scaling != "none",
        f"{experts} experts": experts > 0,
        "an odd head size": shape.head_size % 2 == 1,
        "rotary positions on a part of each head": (
            gguf.get(f"{name}.rope.dimension_count", int, shape.head_size) != shape.head_size
        ),
        "keys and values of different sizes": (
            gguf.get(f"{name}.attention.value_length", int, shape.head_size) != shape.head_size
        ),
        "a number of heads that its K/V heads do not divide": shape.heads % shape.kv_heads != 0,
    }
    for what, is_there in unknown.items():
        if is_there:
            raise UnsupportedError(f"{gguf.path} cannot be converted: {what}")
