"""What the converter knows of model architectures: their sizes, their tensors' names and order.

An architecture is one entry in ``ARCHITECTURES``; everything after this file sees the same
``DecoderShape`` and ``DecoderWeights`` whatever the GGUF called things.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.gguf_file import GgufFile, GgufTensor
from cupola.cache.convert.matrix import Matrix as Matrix
from cupola.cache.errors import BrokenFileError, UnsupportedError

_MAX_SIZE = 1 << 20  # of anything: no model has a longer context or wider layers


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one ``general.architecture`` departs from the common decoder."""

    genai_type: str  # model.type in genai_config.json
    # llama.cpp reorders the rows of q and k so that the two halves of a rotary pair are
    # neighbours; only for the architectures that it rotates in its "normal" way.
    paired_rotary: bool
    head_norms: bool = False  # each head's queries and keys are normed before they are rotated


ARCHITECTURES = {
    "llama": Architecture(genai_type="llama", paired_rotary=True),
    "qwen2": Architecture(genai_type="qwen2", paired_rotary=False),
    "qwen3": Architecture(genai_type="qwen3", paired_rotary=False, head_norms=True),
}


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The sizes of a decoder."""

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


class DecoderWeights:
    """A GGUF file's tensors by what they are in the decoder.

    Raises UnsupportedError for an unknown architecture or one with parts that would be ignored,
    BrokenFileError when tensors are missing or of the wrong shape.
    """

    def __init__(self, gguf: GgufFile) -> None:
        self.gguf = gguf
        self._used: set[str] = set()
        name = gguf.get("general.architecture", str)
        if name not in ARCHITECTURES:
            raise UnsupportedError(
                f"{gguf.path} is of the architecture '{name}'; "
                f"these can be converted: {', '.join(sorted(ARCHITECTURES))}"
            )
        self.architecture = ARCHITECTURES[name]
        self.shape = _read_shape(gguf, name)

    @property
    def stored_bytes(self) -> int:
        """Size of all matrices in the file, for progress."""
        tensors = self.gguf.tensors.values()
        return sum(tensor.data.nbytes for tensor in tensors if len(tensor.shape) == 2)

    @property
    def float_bytes(self) -> int:
        """Size of all matrices in float32."""
        tensors = self.gguf.tensors.values()
        return sum(4 * math.prod(tensor.shape) for tensor in tensors if len(tensor.shape) == 2)

    @property
    def tied(self) -> bool:
        """Whether the output layer is the embedding."""
        return "output.weight" not in self.gguf.tensors

    def embedding(self) -> Matrix:
        return self._matrix("token_embd", self.shape.vocabulary, self.shape.hidden)

    def head(self) -> Matrix:
        return self._matrix("output", self.shape.vocabulary, self.shape.hidden)

    def head_turn(self) -> npt.NDArray[np.float32] | None:
        """What the last norm's output is multiplied by before a tied head, ``[hidden, hidden]``."""
        return None

    def final_norm(self) -> npt.NDArray[np.float32]:
        return self._vector("output_norm.weight", self.shape.hidden)

    def norm(self, layer: int, which: str) -> npt.NDArray[np.float32]:
        """``which``: "attn" or "ffn"; ``[hidden]``."""
        return self._vector(f"blk.{layer}.{which}_norm.weight", self.shape.hidden)

    def qkv(self, layer: int) -> Matrix:
        """The packed projection ``[(heads + 2 kv_heads) * head_size, hidden]``, in the order of
        rows that Hugging Face and GroupQueryAttention have."""
        parts = tuple(
            self._tensor(f"blk.{layer}.attn_{which}.weight", (rows, self.shape.hidden))
            for which, rows in self._qkv_rows()
        )
        return Matrix(parts, self._qkv_orders())

    def qkv_bias(self, layer: int) -> npt.NDArray[np.float32] | None:
        names = {which: f"blk.{layer}.attn_{which}.bias" for which, _ in self._qkv_rows()}
        if not any(name in self.gguf.tensors for name in names.values()):
            return None
        biases = []
        for (which, rows), order in zip(self._qkv_rows(), self._qkv_orders(), strict=True):
            bias = self._vector(names[which], rows)
            biases.append(bias if order is None else bias[order])
        return np.concatenate(biases)

    def head_norm(self, layer: int, which: str) -> npt.NDArray[np.float32] | None:
        """``which``: "q" or "k"; ``[head_size]``, the same for all heads. None: no such norm."""
        if not self.architecture.head_norms:
            return None
        return self._vector(f"blk.{layer}.attn_{which}_norm.weight", self.shape.head_size)

    def attention_output(self, layer: int) -> Matrix:
        width = self.shape.heads * self.shape.head_size
        return self._matrix(f"blk.{layer}.attn_output", self.shape.hidden, width)

    def gate(self, layer: int) -> Matrix:
        return self._matrix(f"blk.{layer}.ffn_gate", self.shape.intermediate, self.shape.hidden)

    def up(self, layer: int) -> Matrix:
        return self._matrix(f"blk.{layer}.ffn_up", self.shape.intermediate, self.shape.hidden)

    def down(self, layer: int) -> Matrix:
        return self._matrix(f"blk.{layer}.ffn_down", self.shape.hidden, self.shape.intermediate)

    def rope_factors(self) -> npt.NDArray[np.float32] | None:
        """What Llama 3.1 divides its rotary frequencies by, ``[head_size / 2]``."""
        if "rope_freqs.weight" not in self.gguf.tensors:
            return None
        return self._vector("rope_freqs.weight", self.shape.head_size // 2)

    def refuse_unused(self) -> None:
        """Raises UnsupportedError when tensors are left: a model that means more than was built."""
        left = sorted(set(self.gguf.tensors) - self._used)
        if left:
            shown = ", ".join(left[:4]) + (", ..." if len(left) > 4 else "")
            raise UnsupportedError(
                f"{self.gguf.path} has tensors that the converter has no use for: {shown}"
            )

    def _qkv_rows(self) -> tuple[tuple[str, int], ...]:
        size = self.shape.head_size
        kv_rows = self.shape.kv_heads * size
        return (("q", self.shape.heads * size), ("k", kv_rows), ("v", kv_rows))

    def _qkv_orders(self) -> tuple[npt.NDArray[np.int64] | None, ...]:
        if not self.architecture.paired_rotary:
            return (None, None, None)
        size = self.shape.head_size
        return (
            unpaired_rows(self.shape.heads, size),
            unpaired_rows(self.shape.kv_heads, size),
            None,
        )

    def _tensor(self, name: str, shape: tuple[int, ...]) -> GgufTensor:
        tensor = self.gguf.tensors.get(name)
        if tensor is None:
            raise BrokenFileError(f"{self.gguf.path} lacks the tensor '{name}'")
        if tensor.shape != shape:
            raise BrokenFileError(
                f"{self.gguf.path}: '{name}' has the shape {tensor.shape}, not {shape}"
            )
        self._used.add(name)
        return tensor

    def _vector(self, name: str, size: int) -> npt.NDArray[np.float32]:
        values: npt.NDArray[np.float32] = self._tensor(name, (size,)).rows()[0]
        return values

    def _matrix(self, name: str, rows: int, columns: int) -> Matrix:
        return Matrix((self._tensor(f"{name}.weight", (rows, columns)),), (None,))


def unpaired_rows(heads: int, head_size: int) -> npt.NDArray[np.int64]:
    """Which GGUF row becomes row i, so that a head's rotary pairs are (i, i + head_size / 2).

    GGUF has them as (2i, 2i + 1). ``[heads * head_size]``.
    """
    rows = np.arange(heads * head_size, dtype=np.int64).reshape(heads, head_size // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)


def _read_shape(gguf: GgufFile, name: str) -> DecoderShape:
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
    )
    _refuse_unknown_kinds(gguf, name, shape)
    return shape


def _refuse_unknown_kinds(gguf: GgufFile, name: str, shape: DecoderShape) -> None:
    """Metadata that changes the mathematics in a way the graph does not have."""
    scaling = gguf.get(f"{name}.rope.scaling.type", str, "none")
    experts = gguf.get(f"{name}.expert_count", int, 0)
    splits = gguf.get("split.count", int, 0)
    unknown = {
        "it is one of several files: merge them with llama-gguf-split first": splits > 1,
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
        "sliding-window attention": f"{name}.attention.sliding_window" in gguf.metadata,
    }
    for what, there in unknown.items():
        if there:
            raise UnsupportedError(f"{gguf.path} cannot be converted: {what}")
