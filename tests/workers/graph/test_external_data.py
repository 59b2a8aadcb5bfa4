"""The weights of a graph lie in the model's folder, wherever in the graph they are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from cupola.workers.graph.external_data import check_graph
from cupola.workers.model.confinement import ConfinementError


def external(*locations: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    for location in locations:
        tensor.external_data.add(key="location", value=location)
    return tensor


def graph_of(
    *nodes: onnx.NodeProto, initializer: list[onnx.TensorProto] | None = None
) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], initializer)


def initializer(location: str) -> onnx.ModelProto:
    return helper.make_model(graph_of(initializer=[external(location)]))


def second_location(location: str) -> onnx.ModelProto:
    return helper.make_model(graph_of(initializer=[external("w.data", location)]))


def constant(location: str) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(external(location))
    return helper.make_model(graph_of(node))


def branch(location: str) -> onnx.ModelProto:
    inner = graph_of(initializer=[external(location)])
    outer = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=graph_of())
    deeper = graph_of(outer)
    return helper.make_model(graph_of(helper.make_node("Loop", ["n"], ["z"], body=deeper)))


def sparse(location: str) -> onnx.ModelProto:
    graph = graph_of()
    graph.sparse_initializer.add().values.CopyFrom(external(location))
    return helper.make_model(graph)


def function(location: str) -> onnx.ModelProto:
    node = constant(location).graph.node[0]
    made = helper.make_function("d", "F", [], ["c"], [node], [helper.make_opsetid("", 21)])
    return helper.make_model(graph_of(), functions=[made])


def compiled(location: str) -> onnx.ModelProto:
    node = helper.make_node("EPContext", [], ["y"], embed_mode=0, ep_cache_context=location)
    return helper.make_model(graph_of(node))


Make = Callable[[str], onnx.ModelProto]
EVERYWHERE: list[Make] = [
    initializer,
    second_location,
    constant,
    branch,
    sparse,
    function,
    compiled,
]
everywhere = pytest.mark.parametrize("make", EVERYWHERE)


def check(folder: Path, model: onnx.ModelProto) -> None:
    (folder / "w.data").write_bytes(b"\0\0\0\0")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    check_graph(folder / "model.onnx", folder)


@everywhere
@pytest.mark.parametrize("location", ["../w.data", "/etc/hostname", "a/../../w.data", "c:\\w.data"])
def test_weights_outside_are_refused(tmp_path: Path, make: Make, location: str) -> None:
    with pytest.raises(ConfinementError, match="in a file outside the model's folder"):
        check(tmp_path, make(location))


@everywhere
@pytest.mark.parametrize("location", ["gone.data", "*/_ORT_MEM_ADDR_/*", "sub/w.data"])
def test_weights_that_are_not_there_are_named(tmp_path: Path, make: Make, location: str) -> None:
    with pytest.raises(ConfinementError) as raised:
        check(tmp_path, make(location))
    assert f"weights in {location}, which is not in the model's folder" in str(raised.value)


@everywhere
def test_weights_in_the_folder(tmp_path: Path, make: Make) -> None:
    check(tmp_path, make("w.data"))


def test_what_is_no_graph_is_left_to_the_runtime(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\xff\xff no graph")
    check_graph(tmp_path / "model.onnx", tmp_path)
