"""Rewrites a decoder graph so that one run takes any mix of sequences ("ragged" batches).

The graph that comes in is the usual export (``input_ids [batch, sequence]``, a past and a present
of keys and values a layer, GroupQueryAttention). In the graph that goes out all tokens of a step,
whatever sequence they belong to, are one packed row of T tokens; only around attention they are
laid out on a grid of B rows by S columns, one row a sequence, and ``query_seqlens`` says how many
of a row's columns are real. Weights are not touched: they stay in their external file.

Inputs of the serving graph, besides past keys and values ``[B, heads, capacity, head size]``:

    input_ids       [1, T]     int64   the packed tokens
    grid            [B, S, 2]  int64   0, and which packed token stands at each place of the grid
    ungrid          [1, T, 2]  int64   at which place of the grid each packed token stands
    last            [R]        int64   the packed tokens whose logits are wanted
    seqlens_k       [B]        int32   length of each row after this step, minus one
    query_seqlens   [B]        int32   new tokens of each row; 0: the row is idle
    total_len       []         int32   an upper bound of the rows' lengths
    position_ids    [1, T]     int64   where each packed token stands, in graphs that ask for it

Output: ``logits [1, R, vocabulary]`` (float32) and the present keys and values, bound over the past
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from cupola.workers.graph import attention_layers as attention
from cupola.workers.graph.attention_layers import CacheNames, KeyValueShape, UnservableGraphError
from cupola.workers.graph.logits_pruning import WANTED, keep_wanted
from cupola.workers.graph.rotary import join_tables, pad_tables
from cupola.workers.model.model_folder import ModelFolderError

POSITIONS = "position_ids"


@dataclass(frozen=True, slots=True)
class ServingGraph:
    model: bytes  # an onnx.ModelProto whose external data lie in the original folder
    kv: KeyValueShape
    caches: tuple[CacheNames, ...]  # of each layer
    heads: int  # of queries
    vocabulary: int
    # Tokens that a sequence may have to be read with the first rotary table. The positions of one
    # that is longer are so much higher, and so lead to the second. 0: there is one table only.
    short_context: int
    inputs: tuple[str, ...]  # its inputs besides keys and values


def serving_graph(path: Path, head_size: int, padding: int) -> ServingGraph:
    """Read the graph and rewrite it.

    ``head_size``: of keys and values, which newer exports leave symbolic in the graph.
    ``padding`` is the widest grid: rotary caches are extended by so many rows, because the unused
    places of a row lie behind its end and would otherwise read beyond the last position.
    Raises UnservableGraphError, ModelFolderError.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelFolderError(f"{path.name} is damaged: {error}") from error
    except OSError as error:
        raise ModelFolderError(f"{path.name} cannot be read: {error}") from error
    graph = model.graph
    layers = attention.attention_layers(graph)
    names = attention.cache_names(layers)
    heads = max(attention.query_heads(node) for node in layers)
    kv = attention.key_value_shape(graph, names, head_size)
    short_context = join_tables(graph, path.parent)
    keep_wanted(graph)
    _lay_out(graph, padding, by_position=short_context > 0)
    _declare_inputs(graph, names)
    drop_dead_nodes(graph)
    _tell_float32(graph)
    _drop_unused_positions(graph)
    pasts = {past for layer in names for past, _ in layer.parts}
    inputs = tuple(value.name for value in graph.input if value.name not in pasts)
    return ServingGraph(
        model.SerializeToString(), kv, names, heads, _vocabulary(graph), short_context, inputs
    )


def _vocabulary(graph: onnx.GraphProto) -> int:
    logits = next(value for value in graph.output if value.name == "logits")
    size = logits.type.tensor_type.shape.dim[-1].dim_value
    if not size:
        raise UnservableGraphError("the output 'logits' does not say the size of the vocabulary")
    return int(size)


def _lay_out(graph: onnx.GraphProto, padding: int, *, by_position: bool) -> None:
    """Put a GatherND before and one after every attention, and feed it the rows' lengths.

    ``by_position``: the rotary tables are read at the given positions, else where the rows' lengths
    say.
    """
    nodes: list[onnx.NodeProto] = []
    padded: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != attention.ATTENTION:
            nodes.append(node)
            continue
        inputs = list(node.input) + [""] * (attention.QUERY_SEQLENS + 1 - len(node.input))
        for place in (0, 1, 2):  # query, key, value; packed into the first where the rest is empty
            if inputs[place]:
                nodes.append(_to_grid(inputs[place]))
                inputs[place] = inputs[place] + ".grid"
        for place in (attention.COS_CACHE, attention.SIN_CACHE):
            if inputs[place] and not by_position:
                inputs[place] = padded.setdefault(inputs[place], inputs[place] + ".padded")
        inputs[attention.SEQLENS_K], inputs[attention.TOTAL_LEN] = "seqlens_k", "total_len"
        inputs[attention.POSITION_IDS] = POSITIONS + ".grid" if by_position else ""
        inputs[attention.QUERY_SEQLENS] = "query_seqlens"
        del node.input[:]
        node.input.extend(inputs)
        # Its keys and values have room for the whole context here: any row can be cut and copied.
        kept = [each for each in node.attribute if each.name != "sliding_window_cache"]
        del node.attribute[:]
        node.attribute.extend(kept)
        output = node.output[0]
        node.output[0] = output + ".grid"
        nodes.append(node)
        nodes.append(_from_grid(output))
    first = [_to_grid(POSITIONS)] if by_position else []
    del graph.node[:]
    graph.node.extend([*first, *pad_tables(graph, padded, padding), *nodes])


def _to_grid(packed: str) -> onnx.NodeProto:
    """[1, T, width] to [B, S, width]."""
    return helper.make_node("GatherND", [packed, "grid"], [packed + ".grid"])


def _from_grid(packed: str) -> onnx.NodeProto:
    """[B, S, width] to [1, T, width]."""
    return helper.make_node("GatherND", [packed + ".grid", "ungrid"], [packed])


def _declare_inputs(graph: onnx.GraphProto, names: Sequence[CacheNames]) -> None:
    pasts = {past for layer in names for past, _ in layer.parts}
    kept = [value for value in graph.input if value.name in pasts]
    ids = next((value for value in graph.input if value.name == "input_ids"), None)
    if ids is None:
        raise UnservableGraphError("no input is called 'input_ids'")
    del graph.input[:]
    int32, int64 = TensorProto.INT32, TensorProto.INT64
    inputs: list[tuple[str, int, list[str | int | None]]] = [
        ("input_ids", ids.type.tensor_type.elem_type, [1, "T"]),
        ("grid", int64, ["B", "S", 2]),
        ("ungrid", int64, [1, "T", 2]),
        (WANTED, int64, ["R"]),
        ("seqlens_k", int32, ["B"]),
        ("query_seqlens", int32, ["B"]),
        ("total_len", int32, []),
        (POSITIONS, int64, [1, "T"]),
    ]
    graph.input.extend(helper.make_tensor_value_info(*declared) for declared in inputs)
    graph.input.extend(kept)
    del graph.value_info[:]  # shapes of the old layout
    logits = next(value for value in graph.output if value.name == "logits")
    dims = logits.type.tensor_type.shape.dim
    dims[0].dim_value = 1
    dims[1].dim_param = "R"


def drop_dead_nodes(graph: onnx.GraphProto) -> None:
    """Remove the nodes and weights that nothing reads any more, such as those that only the
    attention mask and the position ids fed. Raises UnservableGraphError: some input has no maker.
    """
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


def _tell_float32(graph: onnx.GraphProto) -> None:
    """Logits of half precision are made float32 in the graph: where they are used, they must be."""
    logits = next(value for value in graph.output if value.name == "logits")
    if logits.type.tensor_type.elem_type == TensorProto.FLOAT:
        return
    maker = next(node for node in graph.node if "logits" in node.output)
    maker.output[list(maker.output).index("logits")] = "cupola.logits"
    cast = helper.make_node("Cast", ["cupola.logits"], ["logits"], to=TensorProto.FLOAT)
    graph.node.append(cast)
    logits.type.tensor_type.elem_type = TensorProto.FLOAT


def _drop_unused_positions(graph: onnx.GraphProto) -> None:
    """If no node reads the positions, they are no input."""
    if not any(POSITIONS in node.input for node in graph.node):
        graph.input.remove(next(value for value in graph.input if value.name == POSITIONS))
