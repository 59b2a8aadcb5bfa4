"""Reads the attention layers of a decoder graph, and checks that ragged batches are possible.

Nothing is changed here. An UnservableGraphError says why a graph is not suitable; people read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

ATTENTION = "GroupQueryAttention"
# Positions of the inputs of GroupQueryAttention, by its schema.
PAST_KEY, PAST_VALUE = 3, 4
SEQLENS_K, TOTAL_LEN, COS_CACHE, SIN_CACHE, POSITION_IDS, ATTENTION_BIAS = 5, 6, 7, 8, 9, 10
QUERY_SEQLENS = 16
# Other operators in which tokens depend on each other.
_OTHERS = (
    "Attention",
    "MultiHeadAttention",
    "PagedAttention",
    "SparseAttention",
    "LinearAttention",
    "CausalConvWithState",
)
_ELEMENTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8)


class UnservableGraphError(ValueError):
    """The graph cannot be rewritten; the text says why."""


@dataclass(frozen=True, slots=True)
class KeyValueShape:
    """The shape of the keys and values of all layers."""

    layers: int
    heads: int
    head_size: int
    dtype: np.dtype[np.generic]

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token in all layers."""
        return 2 * self.layers * self.heads * self.head_size * self.dtype.itemsize


class CacheNames(NamedTuple):
    """The names that the graph has for one layer's keys and values."""

    past_key: str
    past_value: str
    present_key: str
    present_value: str

    @property
    def parts(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The pairs (past, present) of keys and of values."""
        return (self.past_key, self.present_key), (self.past_value, self.present_value)


def attention_layers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The attention nodes. Raises UnservableGraphError."""
    layers = [node for node in graph.node if node.op_type == ATTENTION]
    others = sorted({node.op_type for node in graph.node if node.op_type in _OTHERS})
    if others:
        raise UnservableGraphError(f"its attention is {' and '.join(others)}, not {ATTENTION}")
    if not layers:
        raise UnservableGraphError(f"it has no {ATTENTION}")
    for node in layers:
        if not _input(node, PAST_KEY) or not _input(node, PAST_VALUE):
            raise UnservableGraphError("its attention keeps no keys and values")
        if _input(node, ATTENTION_BIAS):
            raise UnservableGraphError("its attention has a bias")
        if _attribute(node, "causal", 1) != 1:
            raise UnservableGraphError("its attention is not causal")
    return layers


def cache_names(layers: Sequence[onnx.NodeProto]) -> tuple[CacheNames, ...]:
    """The names of each layer's keys and values. Raises UnservableGraphError."""
    for node in layers:
        if len(node.output) < 3:
            raise UnservableGraphError("its attention gives no keys and values back")
    return tuple(
        CacheNames(node.input[PAST_KEY], node.input[PAST_VALUE], node.output[1], node.output[2])
        for node in layers
    )


def query_heads(node: onnx.NodeProto) -> int:
    """How many heads an attention node has for queries."""
    return _attribute(node, "num_heads", 0)


def key_value_shape(
    graph: onnx.GraphProto, names: Sequence[CacheNames], head_size: int
) -> KeyValueShape:
    """The common shape of all layers.

    ``head_size`` is used if the graph leaves it open. Raises UnservableGraphError.
    """
    inputs = {value.name: value.type.tensor_type for value in graph.input}
    shapes = set()
    for layer in names:
        for name in (layer.past_key, layer.past_value):
            if name not in inputs:
                raise UnservableGraphError(f"its attention reads '{name}', which is no input")
            tensor = inputs[name]
            dims = tensor.shape.dim
            shapes.add((dims[1].dim_value, dims[3].dim_value or head_size, tensor.elem_type))
    if len(shapes) != 1:
        raise UnservableGraphError("its layers keep keys and values of different shapes")
    heads, size, element = shapes.pop()
    if not heads or not size:
        raise UnservableGraphError("the K/V inputs do not say their heads or head size")
    if element not in _ELEMENTS:
        kind = TensorProto.DataType.Name(element).lower()
        raise UnservableGraphError(f"its keys and values are of the type {kind}")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(element))
    return KeyValueShape(len(names), heads, size, dtype)


def _input(node: onnx.NodeProto, place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)
