"""What is looked at in the ONNX graphs of a folder before it becomes a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cupola.cache.convert.formats.external_data import external_locations
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.system.confined_names import leads_out

# The operators that onnxruntime has without a library of someone else's.
_KNOWN_DOMAINS = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.training", "com.microsoft"}
)


def check_graphs(folder: Path) -> None:
    """Each graph in the folder reads files of the folder only, and has operators that are known.

    Raises BrokenFileError, UnsupportedError, OSError.
    """
    for path in sorted(folder.glob("*.onnx")):
        try:
            model = onnx.load(str(path), load_external_data=False)
        except DecodeError:
            raise BrokenFileError(f"{path.name} is no ONNX file, or it is damaged") from None
        for location in sorted(set(external_locations(model))):
            if leads_out(location):
                raise UnsupportedError(
                    f"{path.name} has its weights in a file outside the folder; a model may only "
                    "use its own files"
                )
            if not (folder / location).is_file():
                raise BrokenFileError(
                    f"{path.name} has its weights in {location}, which is missing"
                )
        own = {function.domain for function in model.functions}
        for domain, operator in sorted(_operators(model)):
            if domain not in _KNOWN_DOMAINS | own:
                raise UnsupportedError(
                    f"{path.name} has the operator {operator} of '{domain}', which onnxruntime "
                    "does not have. Libraries of operators are not loaded"
                )


def _operators(model: onnx.ModelProto) -> set[tuple[str, str]]:
    """The domain and name of each operator, inside branches, loops and functions as well."""
    found = set()
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    while nodes:
        node = nodes.pop()
        found.add((node.domain, node.op_type))
        nodes += _inside(node)
    return found


def _inside(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from graph.node
