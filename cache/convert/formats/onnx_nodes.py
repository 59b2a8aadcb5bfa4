"""The nodes of an ONNX graph: what they read, and which of them count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def node_inputs(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, also inside its branches."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from node_inputs(inner)


def alive_nodes(nodes: Iterable[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the values ``wanted`` depend on, in their order.

    To ``wanted`` is added what they read.
    """
    found = []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            wanted.update(node_inputs(node))
            found.append(node)
    return found[::-1]
