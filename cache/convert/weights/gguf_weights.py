"""The weights of a decoder as a GGUF file has them, in the order of rows that a graph needs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_file import GgufFile, GgufTensor
from cupola.cache.convert.weights.decoder_shape import read_shape
from cupola.cache.convert.weights.decoder_weights import Projection, Vector
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.errors import BrokenFileError, UnsupportedError


class GgufWeights:
    """The tensors of a GGUF file by their place in the decoder.

    Raises UnsupportedError and BrokenFileError as ``read_shape`` does.
    """

    def __init__(self, gguf: GgufFile, *, interleaved_rotary: bool) -> None:
        """``interleaved_rotary``: the two channels of a rotary pair are neighbours in the file.

        llama.cpp reorders the rows of q and k so for the architectures that it rotates in its
        "normal" way.
        """
        self._gguf = gguf
        self._interleaved_rotary = interleaved_rotary
        self._read: set[str] = set()
        self.shape = read_shape(gguf)

    @property
    def stored_bytes(self) -> int:
        """The size of all matrices in the file, for progress."""
        tensors = self._gguf.tensors.values()
        return sum(tensor.data.nbytes for tensor in tensors if len(tensor.shape) == 2)

    @property
    def float_bytes(self) -> int:
        """The size of all matrices in float32."""
        tensors = self._gguf.tensors.values()
        return sum(4 * math.prod(tensor.shape) for tensor in tensors if len(tensor.shape) == 2)

    @property
    def tied(self) -> bool:
        return "output.weight" not in self._gguf.tensors

    def embedding(self) -> Matrix:
        return self._matrix("token_embd", self.shape.vocabulary, self.shape.hidden)

    def head(self) -> Matrix:
        return self._matrix("output", self.shape.vocabulary, self.shape.hidden)

    def head_rotation(self) -> Vector | None:
        return None

    def final_norm(self) -> Vector:
        return self._vector("output_norm.weight", self.shape.hidden)

    def norm(self, layer: int, name: str) -> Vector:
        return self._vector(f"blk.{layer}.{name}.weight", self.shape.hidden)

    def head_norm(self, layer: int, name: str) -> Vector:
        return self._vector(f"blk.{layer}.{name}.weight", self.shape.head_size)

    def projection(self, layer: int, which: Projection) -> Matrix:
        if which is Projection.QKV:
            return self._qkv(layer)
        shape = self.shape
        rows, columns = {
            Projection.OUTPUT: (shape.hidden, shape.heads * shape.head_size),
            Projection.GATE: (shape.intermediate, shape.hidden),
            Projection.UP: (shape.intermediate, shape.hidden),
            Projection.DOWN: (shape.hidden, shape.intermediate),
        }[which]
        return self._matrix(f"blk.{layer}.{which.value}", rows, columns)

    def qkv_bias(self, layer: int) -> Vector | None:
        names = {part: f"blk.{layer}.attn_{part}.bias" for part, _ in self._qkv_rows()}
        if not any(name in self._gguf.tensors for name in names.values()):
            return None
        biases = []
        for (part, rows), order in zip(self._qkv_rows(), self._qkv_orders(), strict=True):
            bias = self._vector(names[part], rows)
            biases.append(bias if order is None else bias[order])
        return np.concatenate(biases)

    def rope_factors(self) -> Vector | None:
        if "rope_freqs.weight" not in self._gguf.tensors:
            return None
        return self._vector("rope_freqs.weight", self.shape.head_size // 2)

    def refuse_unread(self) -> None:
        """Raises UnsupportedError for tensors that nobody has read: the graph ignores them."""
        unread = sorted(set(self._gguf.tensors) - self._read)
        if unread:
            shown = ", ".join(unread[:4]) + (", ..." if len(unread) > 4 else "")
            raise UnsupportedError(
                f"{self._gguf.path} has tensors that the converter has no use for: {shown}"
            )

    def _qkv(self, layer: int) -> Matrix:
        """q, k and v in one matrix, in the row order of Hugging Face and GroupQueryAttention."""
        parts = tuple(
            self._tensor(f"blk.{layer}.attn_{part}.weight", (rows, self.shape.hidden))
            for part, rows in self._qkv_rows()
        )
        return Matrix(parts, self._qkv_orders())

    def _qkv_rows(self) -> tuple[tuple[str, int], ...]:
        size = self.shape.head_size
        kv_rows = self.shape.kv_heads * size
        return (("q", self.shape.heads * size), ("k", kv_rows), ("v", kv_rows))

    def _qkv_orders(self) -> tuple[npt.NDArray[np.int64] | None, ...]:
        if not self._interleaved_rotary:
            return (None, None, None)
        size = self.shape.head_size
        return (
            _deinterleaved_rows(self.shape.heads, size),
            _deinterleaved_rows(self.shape.kv_heads, size),
            None,
        )

    def _tensor(self, name: str, shape: tuple[int, ...]) -> GgufTensor:
        tensor = self._gguf.tensors.get(name)
        if tensor is None:
            raise BrokenFileError(f"{self._gguf.path} lacks the tensor '{name}'")
        if tensor.shape != shape:
            raise BrokenFileError(
                f"{self._gguf.path}: '{name}' has the shape {tensor.shape}, not {shape}"
            )
        self._read.add(name)
        return tensor

    def _vector(self, name: str, size: int) -> Vector:
        values: Vector = self._tensor(name, (size,)).rows()[0]
        return values

    def _matrix(self, name: str, rows: int, columns: int) -> Matrix:
        return Matrix((self._tensor(f"{name}.weight", (rows, columns)),), (None,))


def _deinterleaved_rows(heads: int, head_size: int) -> npt.NDArray[np.int64]:
    """The GGUF row that becomes row i, ``[heads * head_size]``.

    A head's rotary pairs are (2i, 2i + 1) in the file and (i, i + head_size / 2) in the graph.
    """
    rows = np.arange(heads * head_size, dtype=np.int64).reshape(heads, head_size // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)
