"""Rewrites a decoder graph so that one run takes any mix of sequences ("ragged" batches).

The graph that comes in is the usual export (``input_ids [batch, sequence]``, a past and a present
of keys and values a layer, GroupQueryAttention). In the graph that goes out all tokens of a step,
whatever sequence they belong to, are one packed row of T tokens; only around attention they are
laid out on a grid of B rows by S columns, one row a sequence, and ``query_seqlens`` says how many
of a row's columns are real. Weights are not touched: they stay in their external file.

Inputs of the serving graph, besides past keys and values ``[B, heads, capacity, head size]``:

    input_ids       [1, T] int64   the packed tokens
    grid            [B, S] int64   which packed token stands at each place of the grid
    ungrid          [T, 2] int64   at which place of the grid each packed token stands
    last            [R]    int64   the packed tokens whose logits are wanted
    seqlens_k       [B]    int32   length of each row after this step, minus one
    query_seqlens   [B]    int32   new tokens of each row; 0: the row is idle
    total_len       []     int32   an upper bound of the rows' lengths

Output: ``logits [1, R, vocabulary]`` and the present keys and values, bound over the past ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from cupola.workers.model_folder import ModelFolderError

ATTENTION = "GroupQueryAttention"
# Places of GroupQueryAttention's inputs, by its schema.
SEQLENS_K, TOTAL_LEN, COS_CACHE, SIN_CACHE, POSITION_IDS, QUERY_SEQLENS = 5, 6, 7, 8, 9, 16


class UnservableGraphError(ValueError):
    """This graph cannot be rewritten; the text says why."""


@dataclass(frozen=True, slots=True)
class KeyValueShape:
    """The K/V tensors of one layer and sequence."""

    layers: int
    heads: int
    head_size: int
    dtype: np.dtype[np.generic]

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.layers * self.heads * self.head_size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class ServingGraph:
    model: bytes  # an onnx.ModelProto whose external data lie in the original folder
    kv: KeyValueShape
    vocabulary: int


def serving_graph(path: Path, head_size: int, padding: int) -> ServingGraph:
    """Read ``model.onnx`` and rewrite it.

    ``head_size``: of keys and values, which newer exports leave symbolic in the graph.
    ``padding`` is the widest grid: rotary caches are extended by so many rows, because the unused
    places of a row lie behind its end and would otherwise read beyond the last position.
    Raises UnservableGraphError, ModelFolderError.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelFolderError(f"{path.name} is damaged: {error}") from error
    graph = model.graph
    attentions = [node for node in graph.node if node.op_type == ATTENTION]
    if not attentions:
        raise UnservableGraphError(f"{path.name} has no {ATTENTION}")
    kv = _kv_shape(graph, len(attentions), head_size)
    _select_last(graph)
    _lay_out(graph, padding)
    _declare_inputs(graph)
    _drop_dead_nodes(graph)
    return ServingGraph(model.SerializeToString(), kv, _vocabulary(graph))


def _kv_shape(graph: onnx.GraphProto, layers: int, head_size: int) -> KeyValueShape:
    past = [value for value in graph.input if value.name.startswith("past_key_values.")]
    if len(past) != 2 * layers:
        raise UnservableGraphError(f"{len(past)} K/V inputs for {layers} attention nodes")
    tensor = past[0].type.tensor_type
    heads = tensor.shape.dim[1].dim_value
    head_size = tensor.shape.dim[3].dim_value or head_size
    if not heads or not head_size:
        raise UnservableGraphError("the K/V inputs do not say their heads or head size")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return KeyValueShape(layers, heads, head_size, dtype)


def _vocabulary(graph: onnx.GraphProto) -> int:
    logits = next(value for value in graph.output if value.name == "logits")
    size = logits.type.tensor_type.shape.dim[-1].dim_value
    if not size:
        raise UnservableGraphError("the output 'logits' does not say the size of the vocabulary")
    return int(size)


def _select_last(graph: onnx.GraphProto) -> None:
    """Compute logits for ``last`` only: the head is a fifth of a small model's work."""
    makers = {output: node for node in graph.node for output in node.output}
    if "logits" not in makers:
        raise UnservableGraphError("no output is called 'logits'")
    head = makers["logits"]
    while not head.op_type.startswith("MatMul"):
        if not head.input or head.input[0] not in makers:
            raise UnservableGraphError("no MatMul makes the logits")
        head = makers[head.input[0]]
    hidden = head.input[0]
    head.input[0] = "cupola.last_hidden"
    gather = helper.make_node("Gather", [hidden, "last"], ["cupola.last_hidden"], axis=1)
    graph.node.insert(list(graph.node).index(head), gather)


def _lay_out(graph: onnx.GraphProto, padding: int) -> None:
    """Put Gather before and GatherND after every attention, and feed it the rows' lengths."""
    nodes: list[onnx.NodeProto] = []
    padded: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != ATTENTION:
            nodes.append(node)
            continue
        inputs = list(node.input) + [""] * (QUERY_SEQLENS + 1 - len(node.input))
        for place in (0, 1, 2):  # query, key, value; packed into the first where the rest is empty
            if inputs[place]:
                nodes += _to_grid(inputs[place])
                inputs[place] = inputs[place] + ".grid"
        for place in (COS_CACHE, SIN_CACHE):
            if inputs[place]:
                inputs[place] = padded.setdefault(inputs[place], inputs[place] + ".padded")
        inputs[SEQLENS_K], inputs[TOTAL_LEN] = "seqlens_k", "total_len"
        inputs[POSITION_IDS] = ""  # they follow from the lengths
        inputs[QUERY_SEQLENS] = "query_seqlens"
        del node.input[:]
        node.input.extend(inputs)
        output = node.output[0]
        node.output[0] = output + ".grid"
        nodes.append(node)
        nodes += _from_grid(output)
    del graph.node[:]
    graph.node.extend([*_pad_rotary(graph, padded, padding), *nodes])
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "cupola.axis_0"))


def _to_grid(packed: str) -> Iterator[onnx.NodeProto]:
    """[1, T, width] to [B, S, width]."""
    yield helper.make_node("Squeeze", [packed, "cupola.axis_0"], [packed + ".rows"])
    yield helper.make_node("Gather", [packed + ".rows", "grid"], [packed + ".grid"], axis=0)


def _from_grid(packed: str) -> Iterator[onnx.NodeProto]:
    """[B, S, width] to [1, T, width]."""
    yield helper.make_node("GatherND", [packed + ".grid", "ungrid"], [packed + ".rows"])
    yield helper.make_node("Unsqueeze", [packed + ".rows", "cupola.axis_0"], [packed])


def _pad_rotary(
    graph: onnx.GraphProto, padded: dict[str, str], padding: int
) -> Iterator[onnx.NodeProto]:
    caches = {tensor.name: tensor for tensor in graph.initializer if tensor.name in padded}
    for name, longer in padded.items():
        if name not in caches:
            raise UnservableGraphError(f"the rotary cache '{name}' is not a constant")
        cache = caches[name]
        dtype = helper.tensor_dtype_to_np_dtype(cache.data_type)
        zeros = numpy_helper.from_array(
            np.zeros((padding, cache.dims[1]), dtype), longer + ".zeros"
        )
        graph.initializer.append(zeros)
        yield helper.make_node("Concat", [name, longer + ".zeros"], [longer], axis=0)


def _declare_inputs(graph: onnx.GraphProto) -> None:
    kept = [value for value in graph.input if value.name.startswith("past_key_values.")]
    ids = next((value for value in graph.input if value.name == "input_ids"), None)
    if ids is None:
        raise UnservableGraphError("no input is called 'input_ids'")
    del graph.input[:]
    int32, int64 = TensorProto.INT32, TensorProto.INT64
    inputs: list[tuple[str, int, list[str | int | None]]] = [
        ("input_ids", ids.type.tensor_type.elem_type, [1, "T"]),
        ("grid", int64, ["B", "S"]),
        ("ungrid", int64, ["T", 2]),
        ("last", int64, ["R"]),
        ("seqlens_k", int32, ["B"]),
        ("query_seqlens", int32, ["B"]),
        ("total_len", int32, []),
    ]
    graph.input.extend(helper.make_tensor_value_info(*declared) for declared in inputs)
    graph.input.extend(kept)
    del graph.value_info[:]  # shapes of the old layout
    logits = next(value for value in graph.output if value.name == "logits")
    dims = logits.type.tensor_type.shape.dim
    dims[0].dim_value = 1
    dims[1].dim_param = "R"


def _drop_dead_nodes(graph: onnx.GraphProto) -> None:
    """Remove what only the attention mask and the position ids fed."""
    wanted = {value.name for value in graph.output}
    alive: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if any(output in wanted for output in node.output):
            alive.append(node)
            wanted.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(alive))
    used = [tensor for tensor in graph.initializer if tensor.name in wanted]
    if len(used) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(used)
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known.update(output for node in alive for output in node.output)
    if unmet := sorted(name for name in wanted - known if name):
        raise UnservableGraphError(f"the graph also needs {', '.join(unmet)}")
