"""Changes the rotary tables of a decoder graph for ragged batches. Weights are not touched.

Models that stretch their context (Phi's LongRoPE) have two tables. An ``If`` takes one of them by
the length of the batch. In a ragged batch each row needs its own table. So the two become one, with
the long table's rows behind those of the short table, and the position ids choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cupola.cache.convert.formats.external_data import array_of
from cupola.workers.graph.attention_layers import UnservableGraphError

Table = NDArray[np.generic]


def join_tables(graph: onnx.GraphProto, folder: Path) -> int:
    """Replace the ``If`` that chooses between two tables by one table with the rows of both.

    Returns the most tokens of a sequence that the first table serves; 0: there is only one table.
    Raises UnservableGraphError.
    """
    choices = [node for node in graph.node if node.op_type == "If"]
    lengths = {_join(graph, choice, folder) for choice in choices}
    if len(lengths) > 1:
        raise UnservableGraphError("its rotary tables change at several lengths")
    return lengths.pop() if lengths else 0


def _join(graph: onnx.GraphProto, choice: onnx.NodeProto, folder: Path) -> int:
    makers = {output: node for node in graph.node for output in node.output}
    condition = makers.get(choice.input[0])
    branches = {each.name: _tables(each.g, folder) for each in choice.attribute}
    above, below = branches.get("then_branch", ()), branches.get("else_branch", ())
    if condition is None or condition.op_type != "Greater" or len(above) != len(choice.output):
        raise UnservableGraphError("it branches in a way that is not known")
    lengths = {len(short) for short in below}
    if len(lengths) != 1 or any(len(long) < min(lengths) for long in above):
        raise UnservableGraphError("it branches in a way that is not known")
    for name, short, long in zip(choice.output, below, above, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.concatenate((short, long)), name))
    graph.node.remove(choice)
    return lengths.pop()


def _tables(branch: onnx.GraphProto, folder: Path) -> tuple[Table, ...]:
    """The outputs of a branch that has only constants; empty if it computes something."""
    constants = {tensor.name: tensor for tensor in branch.initializer}
    for node in branch.node:
        if node.op_type != "Constant" or node.attribute[0].name != "value":
            return ()
        constants[node.output[0]] = node.attribute[0].t
    if any(value.name not in constants for value in branch.output):
        return ()
    return tuple(array_of(constants[value.name], folder) for value in branch.output)


def pad_tables(
    graph: onnx.GraphProto, padded: Mapping[str, str], padding: int
) -> Iterator[onnx.NodeProto]:
    """Add zeros for longer tables, and return the nodes that append them.

    ``padded``: the new name of each table. ``padding``: rows that are added.
    """
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.name in padded}
    for name, longer in padded.items():
        if name not in tables:
            raise UnservableGraphError(f"the rotary cache '{name}' is not a constant")
        table = tables[name]
        dtype = helper.tensor_dtype_to_np_dtype(table.data_type)
        zeros = np.zeros((padding, table.dims[1]), dtype)
        graph.initializer.append(numpy_helper.from_array(zeros, longer + ".zeros"))
        yield helper.make_node("Concat", [name, longer + ".zeros"], [longer], axis=0)
