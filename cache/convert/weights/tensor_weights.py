"""The weights of a decoder as a file has them, in the order of rows that a graph needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.tensor import Tensor
from cupola.cache.convert.weights.decoder_shape import DecoderShape
from cupola.cache.convert.weights.decoder_weights import Projection, Vector
from cupola.cache.convert.weights.lora import AdaptedTensor, LowRank, Place
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.convert.weights.tensor_names import GATE_AND_UP, TensorNames, own_name
from cupola.cache.errors import BrokenFileError, UnsupportedError


class TensorWeights:
    """The tensors of a file, or of a folder, by their place in the decoder."""

    def __init__(
        self,
        path: object,
        tensors: Mapping[str, Tensor],
        names: TensorNames,
        shape: DecoderShape,
        *,
        tied: bool,
        interleaved_rotary: bool = False,
        norms_from_one: bool = False,
    ) -> None:
        """``path``: for errors. See ``Traits`` for the last two."""
        self._path = path
        self._tensors = tensors
        self._names = names
        self._interleaved_rotary = interleaved_rotary
        self._norm_offset = np.float32(norms_from_one)
        self._read: set[str] = set()
        self.shape = shape
        self.tied = tied

    def adapt(self, adapter: Mapping[Place, LowRank]) -> None:
        """Add what an adapter adds. Raises UnsupportedError when it is for another model."""
        orders = dict(zip(("attn_q", "attn_k", "attn_v"), self._qkv_orders(), strict=True))
        changed: dict[str, Tensor] = {}
        for (layer, inside), change in adapter.items():
            own = own_name(inside)
            name = self._of(layer, own) if own else ""
            base = self._tensors.get(name)
            if base is None or base.shape != (len(change.up), change.down.shape[1]):
                raise UnsupportedError(
                    f"The adapter is for another model: its {inside} of layer {layer} is for "
                    f"{len(change.up)} x {change.down.shape[1]} weights, and the base has "
                    f"{'none' if base is None else ' x '.join(map(str, base.shape))} there"
                )
            order = orders.get(own or "")
            changed[name] = AdaptedTensor(
                base, change if order is None else change.reordered(order)
            )
        self._tensors = {**self._tensors, **changed}

    @property
    def stored_bytes(self) -> int:
        """The size of all matrices in the file, for progress."""
        return sum(each.row_count * each.row_bytes for each in self._matrices())

    @property
    def float_bytes(self) -> int:
        """The size of all matrices in float32."""
        return sum(4 * math.prod(each.shape) for each in self._matrices())

    def _matrices(self) -> list[Tensor]:
        return [tensor for tensor in self._tensors.values() if len(tensor.shape) == 2]

    def embedding(self) -> Matrix:
        return self._matrix(self._names.embedding, self.shape.vocabulary, self.shape.hidden)

    def head(self) -> Matrix:
        return self._matrix(self._names.head, self.shape.vocabulary, self.shape.hidden)

    def head_rotation(self) -> Vector | None:
        return None

    def final_norm(self) -> Vector:
        """The divisor of the logits is in it: only the head reads what this norm gives."""
        norm = self._norm(self._names.final_norm, self.shape.hidden)
        return norm / np.float32(self.shape.logit_divisor)

    def norm(self, layer: int, name: str) -> Vector:
        return self._norm(self._names.of(layer, name), self.shape.hidden)

    def head_norm(self, layer: int, name: str) -> Vector:
        return self._norm(self._names.of(layer, name), self.shape.head_size)

    def projection(self, layer: int, which: Projection) -> Matrix:
        shape = self.shape
        match which:
            case Projection.QKV:
                return self._qkv(layer)
            case Projection.OUTPUT:
                rows, columns = shape.hidden, shape.heads * shape.head_size
            case Projection.DOWN:
                rows, columns = shape.hidden, shape.intermediate
            case Projection.GATE | Projection.UP:
                rows, columns = shape.intermediate, shape.hidden
                if self._has_gate_and_up(layer):
                    both = self._tensor(self._of(layer, GATE_AND_UP), (2 * rows, columns))
                    first = 0 if which is Projection.GATE else rows
                    return Matrix((both.cut(first, first + rows),), (None,))
        return self._matrix(self._names.of(layer, which.value), rows, columns)

    def qkv_bias(self, layer: int) -> Vector | None:
        fused = self._names.of(layer, "attn_qkv")
        if f"{fused}.bias" in self._tensors:
            return self._vector(f"{fused}.bias", sum(rows for _, rows in self._qkv_rows()))
        names = {part: f"{self._names.of(layer, part)}.bias" for part, _ in self._qkv_rows()}
        if not any(name in self._tensors for name in names.values()):
            return None
        biases = []
        for (part, rows), order in zip(self._qkv_rows(), self._qkv_orders(), strict=True):
            bias = self._vector(names[part], rows)
            biases.append(bias if order is None else bias[order])
        return np.concatenate(biases)

    def refuse_unread(self) -> None:
        """Raises UnsupportedError for tensors that nobody has read: the graph ignores them."""
        unread = sorted(set(self._tensors) - self._read)
        if unread:
            shown = ", ".join(unread[:4]) + (", ..." if len(unread) > 4 else "")
            raise UnsupportedError(
                f"{self._path} has tensors that the converter has no use for: {shown}"
            )

    def _has_gate_and_up(self, layer: int) -> bool:
        fused = self._tensors.get(self._of(layer, GATE_AND_UP))
        return fused is not None and fused.shape[0] == 2 * self.shape.intermediate

    def _qkv(self, layer: int) -> Matrix:
        """q, k and v in one matrix, in the row order of Hugging Face and GroupQueryAttention."""
        if (fused := self._of(layer, "attn_qkv")) in self._tensors:
            rows = sum(rows for _, rows in self._qkv_rows())
            return Matrix((self._tensor(fused, (rows, self.shape.hidden)),), (None,))
        parts = tuple(
            self._tensor(self._of(layer, part), (rows, self.shape.hidden))
            for part, rows in self._qkv_rows()
        )
        return Matrix(parts, self._qkv_orders())

    def _qkv_rows(self) -> tuple[tuple[str, int], ...]:
        size = self.shape.head_size
        kv_rows = self.shape.kv_heads * size
        return (("attn_q", self.shape.heads * size), ("attn_k", kv_rows), ("attn_v", kv_rows))

    def _qkv_orders(self) -> tuple[npt.NDArray[np.int64] | None, ...]:
        if not self._interleaved_rotary:
            return (None, None, None)
        size = self.shape.head_size
        return (
            _deinterleaved_rows(self.shape.heads, size),
            _deinterleaved_rows(self.shape.kv_heads, size),
            None,
        )

    def _of(self, layer: int, name: str) -> str:
        return f"{self._names.of(layer, name)}.weight"

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise BrokenFileError(f"{self._path} lacks the tensor '{name}'")
        if tensor.shape != shape:
            raise BrokenFileError(
                f"{self._path}: '{name}' has the shape {tensor.shape}, not {shape}"
            )
        self._read.add(name)
        return tensor

    def _vector(self, name: str, size: int) -> Vector:
        values: Vector = self._tensor(name, (size,)).rows()[0]
        return values

    def _norm(self, name: str, size: int) -> Vector:
        norm: Vector = self._vector(f"{name}.weight", size) + self._norm_offset
        return norm

    def _matrix(self, name: str, rows: int, columns: int) -> Matrix:
        return Matrix((self._tensor(f"{name}.weight", (rows, columns)),), (None,))


def _deinterleaved_rows(heads: int, head_size: int) -> npt.NDArray[np.int64]:
    """The file's row that becomes row i, ``[heads * head_size]``.

    A head's rotary pairs are (2i, 2i + 1) in the file and (i, i + head_size / 2) in the graph.
    """
    rows = np.arange(heads * head_size, dtype=np.int64).reshape(heads, head_size // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)
