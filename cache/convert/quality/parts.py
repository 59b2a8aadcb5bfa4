"""Cuts a graph into parts that run one after the other.

A session keeps weights a second time, in the order in which its kernels read them. In parts a model
of any size is run in the memory of a few layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.formats.onnx_nodes import alive_nodes, node_inputs

Types = Mapping[str, tuple[int, int]]  # data type and number of dimensions by the value's name


@dataclass(frozen=True, slots=True)
class Part:
    """Some nodes of a graph, in their order."""

    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]
    reads: list[str]  # values that parts before it made, or that the graph is given
    makes: list[str]  # values that parts behind it read, or that are wanted

    def model(self, whole: onnx.ModelProto, types: Types) -> onnx.ModelProto:
        """The part as a model. ``types``: of what it reads."""
        inputs = []
        for name in self.reads:
            data_type, dimensions = types[name]
            inputs.append(helper.make_tensor_value_info(name, data_type, [None] * dimensions))
        outputs = [onnx.ValueInfoProto(name=name) for name in self.makes]
        graph = helper.make_graph(self.nodes, "part", inputs, outputs, self.weights)
        return helper.make_model(
            graph,
            ir_version=whole.ir_version,
            opset_imports=whole.opset_import,
            functions=whole.functions,
        )


def cut(model: onnx.ModelProto, wanted: Iterable[str], most_bytes: int) -> list[Part]:
    """The parts of ``model`` that make the values ``wanted``.

    The weights of a part take at most ``most_bytes``, or are those of a single node.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    groups = _groups(alive_nodes(model.graph.node, set(wanted)), stored, most_bytes)
    needed = set(wanted)
    parts = []
    for nodes in reversed(groups):
        read = dict.fromkeys(name for node in nodes for name in node_inputs(node) if name)
        made = dict.fromkeys(name for node in nodes for name in node.output if name)
        # Inside a branch, a node reads what another one there has made.
        inner = {name for node in nodes for name in _made_inside(node)}
        parts.append(
            Part(
                nodes,
                [stored[name] for name in read if name in stored],
                [name for name in read if name not in made | stored.keys() | inner],
                [name for name in made if name in needed],
            )
        )
        needed |= read.keys()
    return parts[::-1]


def _groups(
    nodes: list[onnx.NodeProto], stored: Mapping[str, onnx.TensorProto], most_bytes: int
) -> list[list[onnx.NodeProto]]:
    groups: list[list[onnx.NodeProto]] = [[]]
    read: set[str] = set()
    size = 0
    for node in nodes:
        new = {name for name in node_inputs(node) if name in stored} - read
        more = sum(_size(stored[name]) for name in new)
        if groups[-1] and size and size + more > most_bytes:
            groups.append([])
            read, size = set(), 0
            new = {name for name in node_inputs(node) if name in stored}
            more = sum(_size(stored[name]) for name in new)
        groups[-1].append(node)
        read |= new
        size += more
    return groups


def _size(tensor: onnx.TensorProto) -> int:
    bits = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        bits = 4
    return int(math.prod(tensor.dims)) * bits // 8


def _made_inside(node: onnx.NodeProto) -> set[str]:
    made: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                made |= {*inner.output, *_made_inside(inner)}
            made |= {tensor.name for tensor in graph.initializer}
            made |= {value.name for value in graph.input}
    return made
