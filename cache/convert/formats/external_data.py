"""The files that an ONNX graph reads beside itself."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def external_locations(model: onnx.ModelProto) -> Iterator[str]:
    """The names of all files that a graph reads. A key may be there several times."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    tensors: list[onnx.TensorProto] = []
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            tensors += graph.initializer
            for sparse in graph.sparse_initializer:
                tensors += (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        node = nodes.pop()
        embedded = 1
        for attribute in node.attribute:
            graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            tensors += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
            if attribute.name == "embed_mode":
                embedded = attribute.i
        if node.op_type == "EPContext" and not embedded:
            yield from (a.s.decode() for a in node.attribute if a.name == "ep_cache_context")
    for tensor in tensors:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")
