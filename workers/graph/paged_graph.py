"""Rewrites a decoder graph so that one run on a GPU takes any mix of sequences.

It does what ``serving_graph`` does, with another operator: PagedAttention, whose queries are packed
as all other values are, and whose keys and values lie in blocks that a table gives to sequences.
onnxruntime has it for CUDA only. It computes in half precision, and so do keys and values, whatever
precision the rest of the graph has.

Inputs of the graph, besides blocks of keys and values ``[blocks, BLOCK, heads, head size]``:

    input_ids        [1, T]     int64   the packed tokens
    last             [R]        int64   the packed tokens whose logits are wanted
    cumulative_len   [B + 1]    int32   where each row's tokens begin, and the end of the last one
    past_len         [B]        int32   tokens of each row that are in the cache
    block_table      [B, P]     int32   the blocks of each row, in order; -1: none
    longest          [2]        int32   the most new tokens and the most tokens of any row
    position_ids     [1, T]     int64   the position of each packed token, in graphs that need it

Outputs: as those of ``serving_graph``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cupola.workers.graph import attention_layers as attention
from cupola.workers.graph.attention_layers import CacheNames, KeyValueShape, UnservableGraphError
from cupola.workers.graph.logits_pruning import WANTED_TOKENS, prune_logits
from cupola.workers.graph.serving_graph import (
    POSITIONS,
    ServingGraph,
    drop_dead_nodes,
    finished,
    read_graph,
)

BLOCK = 256  # positions of a block; FlashAttention wants a multiple of 256
HALF = TensorProto.FLOAT16

# Positions of the inputs of PagedAttention, by its schema.
_CUMULATIVE, _PAST, _TABLE, _COS, _SIN, _SINK, _LONGEST = 5, 6, 7, 8, 9, 11, 16
# The same of GroupQueryAttention.
_GROUPED_SINK, _GROUPED_NORMS = 11, (14, 15)
# Attributes that mean the same in both operators.
_SHARED = frozenset(
    "num_heads kv_num_heads scale softcap do_rotary rotary_interleaved local_window_size".split()
)
_AXIS_OF_BATCH = "cupola.axis_of_batch"


def paged_graph(path: Path, head_size: int) -> ServingGraph:
    """Read the graph and rewrite it.

    ``head_size``: see ``serving_graph``. Raises UnservableGraphError, ModelFolderError.
    """
    model = read_graph(path)
    graph = model.graph
    layers = attention.attention_layers(graph)
    names = attention.cache_names(layers)
    kv = replace(attention.key_value_shape(graph, names, head_size), dtype=np.dtype(np.float16))
    heads = max(attention.query_heads(node) for node in layers)
    if any(node.op_type == "If" for node in graph.node):
        raise UnservableGraphError("its rotary tables change with the length of a sequence")
    element = _element(graph)
    prune_logits(graph)
    tables = _HalfConstants(graph)
    nodes = [node for each in graph.node for node in _paged(each, element, tables)]
    del graph.node[:]
    graph.node.extend([*tables.casts.values(), *nodes])
    axis = numpy_helper.from_array(np.array([0], np.int64), _AXIS_OF_BATCH)
    graph.initializer.append(axis)
    _declare(graph, names, kv)
    drop_dead_nodes(graph)
    return finished(model, kv, names, heads)


def _element(graph: onnx.GraphProto) -> int:
    """The type of the values between operators: that of the keys and values."""
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    layers = attention.attention_layers(graph)
    element = int(types[layers[0].input[attention.PAST_KEY]])
    if element not in (TensorProto.FLOAT, HALF):
        raise UnservableGraphError("its keys and values are rounded")
    return element


class _HalfConstants:
    """Constants of the graph in half precision. ``casts``: the nodes that make them, by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._known = {tensor.name: tensor.data_type for tensor in graph.initializer}
        self.casts: dict[str, onnx.NodeProto] = {}

    def of(self, name: str) -> str:
        """The name of a constant in half precision. Raises UnservableGraphError."""
        if not name or self._known.get(name) == HALF:
            return name
        if name not in self._known:
            raise UnservableGraphError(f"'{name}' is not a constant")
        half = name + ".half"
        self.casts[half] = helper.make_node("Cast", [name], [half], to=HALF)
        return half


def _paged(
    node: onnx.NodeProto, element: int, constants: _HalfConstants
) -> Iterator[onnx.NodeProto]:
    """The nodes that take the place of a node."""
    if node.op_type != attention.ATTENTION:
        yield node
        return
    given = list(node.input) + [""] * (attention.QUERY_SEQLENS + 1 - len(node.input))
    if any(given[place] for place in _GROUPED_NORMS):
        raise UnservableGraphError("its attention norms queries and keys")
    inputs = [""] * (_LONGEST + 1)
    for place in (0, 1, 2):  # query, key, value; packed into the first where the rest is empty
        if given[place]:
            yield from _unbatched(given[place], element)
            inputs[place] = given[place] + ".rows"
    inputs[3:5] = given[attention.PAST_KEY], given[attention.PAST_VALUE]
    inputs[_CUMULATIVE], inputs[_PAST] = "cumulative_len", "past_len"
    inputs[_TABLE], inputs[_LONGEST] = "block_table", "longest"
    for place, source in ((_COS, attention.COS_CACHE), (_SIN, attention.SIN_CACHE)):
        inputs[place] = constants.of(given[source])
    inputs[_SINK] = constants.of(given[_GROUPED_SINK])
    output = node.output[0]
    paged = helper.make_node(
        "PagedAttention",
        inputs,
        [output + ".rows", *node.output[1:3]],
        node.name,
        domain=node.domain,
    )
    paged.attribute.extend(each for each in node.attribute if each.name in _SHARED)
    yield paged
    yield from _batched(output, element)


def _unbatched(packed: str, element: int) -> Iterator[onnx.NodeProto]:
    """[1, T, width] to [T, width] of half precision."""
    source = packed
    if element != HALF:
        source = packed + ".half"
        yield helper.make_node("Cast", [packed], [source], to=HALF)
    yield helper.make_node("Squeeze", [source, _AXIS_OF_BATCH], [packed + ".rows"])


def _batched(packed: str, element: int) -> Iterator[onnx.NodeProto]:
    """[T, width] of half precision to [1, T, width]."""
    target = packed if element == HALF else packed + ".half"
    yield helper.make_node("Unsqueeze", [packed + ".rows", _AXIS_OF_BATCH], [target])
    if element != HALF:
        yield helper.make_node("Cast", [target], [packed], to=element)


def _declare(graph: onnx.GraphProto, names: Sequence[CacheNames], kv: KeyValueShape) -> None:
    """Declare the inputs and outputs of the new graph."""
    ids = next((value for value in graph.input if value.name == "input_ids"), None)
    if ids is None:
        raise UnservableGraphError("no input is called 'input_ids'")
    int32, int64 = TensorProto.INT32, TensorProto.INT64
    blocks: list[str | int | None] = ["blocks", BLOCK, kv.heads, kv.head_size]
    inputs: list[tuple[str, int, list[str | int | None]]] = [
        ("input_ids", ids.type.tensor_type.elem_type, [1, "T"]),
        (WANTED_TOKENS, int64, ["R"]),
        ("cumulative_len", int32, ["rows_and_end"]),
        ("past_len", int32, ["B"]),
        ("block_table", int32, ["B", "P"]),
        ("longest", int32, [2]),
        (POSITIONS, int64, [1, "T"]),
        *((past, HALF, blocks) for layer in names for past, _ in layer.parts),
    ]
    presents = {present for layer in names for _, present in layer.parts}
    logits = next(value for value in graph.output if value.name == "logits")
    dims = logits.type.tensor_type.shape.dim
    dims[0].dim_value = 1
    dims[1].dim_param = "R"
    del graph.input[:]
    graph.input.extend(helper.make_tensor_value_info(*declared) for declared in inputs)
    kept = [value for value in graph.output if value.name not in presents]
    del graph.output[:]
    graph.output.extend(kept)
    graph.output.extend(
        helper.make_tensor_value_info(present, HALF, blocks)
        for layer in names
        for _, present in layer.parts
    )
    del graph.value_info[:]  # shapes of the old layout
