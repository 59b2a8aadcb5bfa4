"""Rewrites a decoder graph so that one run takes any mix of sequences ("ragged" batches).

The input is the usual export: ``input_ids [batch, sequence]``, past and present keys and values of
each layer, GroupQueryAttention. In the output all tokens of a step are one packed row of T tokens,
whatever sequence they belong to. Only around attention they lie on a grid of B rows and S columns,
with a row for each sequence, and ``query_seqlens`` says how many columns of each row are used.
Weights are not touched: they stay in their external file.

Inputs of the serving graph, besides past keys and values ``[B, heads, capacity, head size]``:

    input_ids       [1, T]     int64   the packed tokens
    grid            [B, S, 2]  int64   0, and the packed token at each place of the grid
    ungrid          [1, T, 2]  int64   the place of each packed token in the grid
    last            [R]        int64   the packed tokens whose logits are wanted
    seqlens_k       [B]        int32   length of each row after this step, minus one
    query_seqlens   [B]        int32   new tokens of each row; 0: the row is idle
    total_len       []         int32   an upper bound of the rows' lengths
    position_ids    [1, T]     int64   the position of each packed token, in graphs that need it

Outputs: ``logits [1, R, vocabulary]`` of float32, and the present keys and values. Those are bound
to the same memory as the past ones.
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
from cupola.workers.graph.logits_pruning import WANTED_TOKENS, prune_logits
from cupola.workers.graph.rotary import join_tables, pad_tables
from cupola.workers.model.model_folder import ModelFolderError

POSITIONS = "position_ids"
_EXPERTS = ("MoE", "QMoE")


@dataclass(frozen=True, slots=True)
class ServingGraph:
    """A rewritten graph, and what a session must know about it."""

    model: bytes  # an onnx.ModelProto whose external data lie in the original folder
    kv: KeyValueShape
    caches: tuple[CacheNames, ...]  # of each layer
    heads: int  # of queries
    vocabulary: int
    # The most tokens of a sequence that is read with the first rotary table. It is added to the
    # positions of a longer sequence, which leads to the second table. 0: there is only one table.
    short_context: int
    inputs: tuple[str, ...]  # its inputs besides keys and values
    # Tokens are sent to experts, so it depends on the others how many are computed together.
    has_experts: bool


def serving_graph(path: Path, head_size: int, padding: int) -> ServingGraph:
    """Read the graph and rewrite it.

    ``head_size``: of keys and values; newer exports leave it open in the graph. ``padding``: the
    widest grid. Rotary tables get so many more rows, because the unused places of a row lie behind
    its end and would else read beyond the last position. Raises UnservableGraphError,
    ModelFolderError.
    """
    model = read_graph(path)
    graph = model.graph
    layers = attention.attention_layers(graph)
    names = attention.cache_names(layers)
    heads = max(attention.query_heads(node) for node in layers)
    kv = attention.key_value_shape(graph, names, head_size)
    short_context = join_tables(graph, path.parent)
    prune_logits(graph)
    _lay_out(graph, padding, by_position=short_context > 0)
    _declare_inputs(graph, names)
    drop_dead_nodes(graph)
    return finished(model, kv, names, heads, short_context)


def read_graph(path: Path) -> onnx.ModelProto:
    """A graph without its weights. Raises ModelFolderError."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelFolderError(f"{path.name} is damaged: {error}") from error
    except OSError as error:
        raise ModelFolderError(f"{path.name} cannot be read: {error}") from error


def finished(
    model: onnx.ModelProto,
    kv: KeyValueShape,
    names: tuple[CacheNames, ...],
    heads: int,
    short_context: int = 0,
) -> ServingGraph:
    """What every rewriting ends with: logits of float32, and no input that nothing reads."""
    graph = model.graph
    _cast_logits(graph)
    _drop_unused_positions(graph)
    pasts = {past for layer in names for past, _ in layer.parts}
    inputs = tuple(value.name for value in graph.input if value.name not in pasts)
    return ServingGraph(
        model.SerializeToString(),
        kv,
        names,
        heads,
        _vocabulary(graph),
        short_context,
        inputs,
        has_experts=any(node.op_type in _EXPERTS for node in graph.node),
    )


def _vocabulary(graph: onnx.GraphProto) -> int:
    logits = next(value for value in graph.output if value.name == "logits")
    size = logits.type.tensor_type.shape.dim[-1].dim_value
    if not size:
        raise UnservableGraphError("the output 'logits' does not say the size of the vocabulary")
    return int(size)


def _lay_out(graph: onnx.GraphProto, padding: int, *, by_position: bool) -> None:
    """Put a GatherND before and after every attention, and give it the rows' lengths.

    ``by_position``: the rotary tables are read at the position ids, not where the rows' lengths
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
        # Here keys and values have room for the whole context, so any row can be cut and copied.
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
        (WANTED_TOKENS, int64, ["R"]),
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
    """Remove nodes and weights that nothing reads any more.

    Examples are the nodes of the attention mask. Raises UnservableGraphError if an input is
    missing.
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


def _cast_logits(graph: onnx.GraphProto) -> None:
    """Convert logits of half precision to float32 in the graph, because sampling needs that."""
    logits = next(value for value in graph.output if value.name == "logits")
    if logits.type.tensor_type.elem_type == TensorProto.FLOAT:
        return
    maker = next(node for node in graph.node if "logits" in node.output)
    maker.output[list(maker.output).index("logits")] = "cupola.logits"
    cast = helper.make_node("Cast", ["cupola.logits"], ["logits"], to=TensorProto.FLOAT)
    graph.node.append(cast)
    logits.type.tensor_type.elem_type = TensorProto.FLOAT


def _drop_unused_positions(graph: onnx.GraphProto) -> None:
    """Remove the input of positions if no node reads it."""
    if not any(POSITIONS in node.input for node in graph.node):
        graph.input.remove(next(value for value in graph.input if value.name == POSITIONS))
