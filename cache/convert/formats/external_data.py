"""The files that an ONNX graph reads beside itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


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


def array_of(tensor: onnx.TensorProto, folder: Path) -> NDArray[np.generic]:
    """A tensor's values, read-only and mapped where they lie in a file of ``folder``.

    onnx itself refuses a file with several hard links, and caches that share files have them.
    Raises OSError, and ValueError for a file outside the folder or one that is too short.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = (folder / entries["location"]).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ValueError(f"the weight {tensor.name} lies in a file outside the model's folder")
    size, begin = file.stat().st_size, int(entries.get("offset", 0))
    length = int(entries.get("length", size - begin))
    if begin < 0 or length < 0 or begin + length > size:
        raise ValueError(f"the weight {tensor.name} lies behind the end of {file.name}")
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if dtype.itemsize * math.prod(tensor.dims) != length:  # several values in a byte
        raw = np.fromfile(file, np.uint8, length, offset=begin).tobytes()
        whole = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)
        return numpy_helper.to_array(whole)
    if not length:
        return np.empty(tuple(tensor.dims), dtype)
    return np.asarray(np.memmap(file, dtype, "r", begin, tuple(tensor.dims)))
