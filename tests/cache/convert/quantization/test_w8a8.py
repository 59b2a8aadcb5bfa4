"""Integer products on both sides: how a token is rounded, no other of the batch has a say in."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.formats.weights_file import DATA_FILE, WeightsFile
from cupola.cache.convert.graph.graph_nodes import GraphNodes
from cupola.cache.convert.graph.initializers import Initializers
from cupola.cache.convert.graph.projections import Projections
from cupola.cache.convert.quality.runtime import decoder_feed, open_session
from cupola.cache.convert.sources import read_decoder
from cupola.cache.convert.weights.decoder_weights import Projection
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.precision import Precision
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.cache.convert.plain_graph import Graph
from tests.cache.convert.tiny_gguf import TinyModel
from tests.w8a8 import distance, write_w8a8

pytestmark = pytest.mark.slow

Array = npt.NDArray[np.float32]

FIRST = [1, 72, 5, 260, 33, 99, 100]
SECOND = [2, 17, 200, 201, 7, 8, 9]


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_w8a8(tmp_path, tied=request.param)


def test_a_token_does_not_suffer_from_a_loud_neighbour(tmp_path: Path) -> None:
    weights = read_decoder(GgufFile(TinyModel().write(tmp_path / "m.gguf")))[1]
    x = np.random.default_rng(0).standard_normal((2, 3, weights.shape.hidden), np.float32)
    x[0, 1] *= 10_000
    x[1, 2] = 0
    gate = weights.projection(0, Projection.GATE)
    matrix = np.concatenate([piece.values for piece in gate.pieces()])
    found, expected = projected(gate, x, tmp_path), x @ matrix.T
    errors = np.sqrt(((found - expected) ** 2).mean(-1))
    assert (errors <= 0.02 * np.sqrt((expected**2).mean(-1))).all()
    assert (found[1, 2] == 0).all()  # a scale of 0 is no division by 0


def test_the_tokens_of_a_batch_are_those_of_each_row(folder: Path) -> None:
    session = open_session((folder / "model.onnx").read_bytes(), folder)
    shape = read_decoder(GgufFile(folder.parent / "m.gguf"))[1].shape
    feeds = [decoder_feed(ids, shape) for ids in (FIRST, SECOND)]
    both = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    (logits,) = session.run(["logits"], both)
    for row, feed in zip(logits, feeds, strict=True):
        (alone,) = session.run(["logits"], feed)
        assert distance(row, alone[0]) < 0.01


def test_the_workers_serving_graph_is_the_same_function(folder: Path) -> None:
    session = DecoderSession(ModelFolder.read(folder), slots=2, width=16, threads=1)
    rows = [Row(0, 0, FIRST[:4], 4), Row(1, 0, SECOND, 7)]
    started = session.run(rows).copy()
    gone_on = session.run([Row(0, 4, FIRST[4:], 3)]).copy()
    plain = Graph(folder)
    assert distance(np.concatenate([started[:4], gone_on]), plain.logits(FIRST)) < 0.01
    assert distance(started[4:], plain.logits(SECOND)) < 0.01


def projected(matrix: Matrix, x: Array, folder: Path) -> Array:
    """``x`` times ``matrix``, by ONNX Runtime."""
    nodes = GraphNodes()
    with WeightsFile(folder / DATA_FILE) as data:
        stored = Initializers(data, Precision.W8A8, lambda size: None)
        Projections(nodes, stored).add("x", matrix, "/gate", "y")
    graph = helper.make_graph(
        nodes.nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored.tensors,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    result: Array = open_session(model.SerializeToString(), folder).run(None, {"x": x})[0]
    return result
