"""The graph with fewer bits that a model may have for few tokens, beside its integer products."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.model_config import FEW_TOKEN_GRAPH
from cupola.workers.model.model_folder import ModelFolder, graph_bytes
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.w8a8 import distance, write_w8a8
from tests.workers.chosen_way import ChosenWay
from tests.workers.reference import DATA

pytestmark = pytest.mark.slow

PLENTY = 2**24
NEAR = 0.1
WIDTH = 16
FIRST, SECOND = [1, 72, 5, 260, 33, 99, 100, 14], [2, 17, 200, 201, 7, 8, 9, 35]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_w8a8(tmp_path_factory.mktemp("model"), tied=request.param, kind=Kind.Q4_1)


def session(folder: Path, block_bytes: int, chosen: ChosenWay | None = None) -> DecoderSession:
    model = ModelFolder.read(folder)
    made = DecoderSession(
        model, slots=2, width=WIDTH, threads=1, block_bytes=block_bytes, autotune=chosen
    )
    made.wait()
    return made


def test_most_of_its_weights_are_those_of_the_file(folder: Path) -> None:
    """Attention turns its values, so its weights cannot stay as they are."""
    bits = {
        node.name.rpartition("/")[0]: next(each.i for each in node.attribute if each.name == "bits")
        for node in onnx.load(folder / FEW_TOKEN_GRAPH, load_external_data=False).graph.node
        if node.op_type == "MatMulNBits"
    }
    assert {at: count for at, count in bits.items() if "/mlp/" in at} == {
        f"/model/layers.{layer}/mlp/{which}_proj": 4
        for layer in range(2)
        for which in ("gate", "up", "down")
    }
    assert {count for at, count in bits.items() if "/attn/" in at} == {8}


def test_only_a_source_of_four_bits_has_one(tmp_path: Path) -> None:
    assert ModelFolder.read(write_w8a8(tmp_path, tied=True)).few_token_graph is None


def test_both_graphs_read_and_write_the_same_keys_and_values(folder: Path) -> None:
    plain, both = session(folder, 0), session(folder, PLENTY, chosen := ChosenWay())
    for few_first in (True, False):
        for at in range(0, 8, 2):
            chosen.other = (at // 2 % 2 == 0) == few_first
            rows = [Row(0, at, FIRST[at : at + 2], 1), Row(1, at, SECOND[at : at + 2], 2)]
            expected = plain.run(rows).copy()
            assert distance(both.run(rows), expected) < NEAR
    assert chosen.taken == 4
    # And it would show if they did not.
    without = plain.run([Row(1, 0, SECOND[6:], 1)])
    assert distance(without, expected[-1:]) > 4 * NEAR


def test_reproducible_rows_are_never_read_by_it(folder: Path) -> None:
    both = session(folder, PLENTY, ChosenWay())
    row = Row(0, 0, FIRST[:4], 4, reproducible=True)
    assert (both.run([row]) == session(folder, 0).run([row])).all()


def test_one_that_is_too_large_is_left_out(folder: Path) -> None:
    size = graph_bytes(folder / FEW_TOKEN_GRAPH)
    for limit, ready in ((size - 1, False), (size, True)):
        made = session(folder, limit)
        assert made.blocks is not None and made.blocks.ready == ready


def test_one_of_another_model_is_left_out(folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    shutil.copy(DATA / "builder-int4" / "model.onnx", mixed / FEW_TOKEN_GRAPH)
    made = session(mixed, PLENTY)
    assert made.blocks is not None and made.blocks.built and not made.blocks.ready
    expected = session(folder, 0).run([Row(0, 0, FIRST, 1)])
    assert (made.run([Row(0, 0, FIRST, 1)]) == expected).all()
