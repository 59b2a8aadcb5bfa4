"""The files in which a graph's weights lie: none of them may be outside the model's folder.

onnxruntime refuses such files itself when it starts a session. This check also covers what is read
without a session, and its errors are shorter and show no paths of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cupola.workers.model.confinement import ConfinementError, leads_out


def check_graph(file: Path, folder: Path) -> None:
    """The graph's weights lie in files of the folder. Raises ConfinementError, OSError.

    A file that is no graph is left to the runtime, which refuses it.
    """
    try:
        model = onnx.load(str(file), load_external_data=False)
    except DecodeError:
        return
    for location in sorted(set(_locations(model))):
        if leads_out(location):
            raise ConfinementError(
                f"{file.name} has its weights in a file outside the model's folder; a model may "
                "only use its own files"
            )
        if not any((each / location).is_file() for each in (file.parent, folder)):
            raise ConfinementError(
                f"{file.name} has its weights in {location}, which is not in the model's folder; "
                "download the model again"
            )


def _locations(model: onnx.ModelProto) -> Iterator[str]:
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
