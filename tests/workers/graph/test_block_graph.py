"""Integer products with weights in blocks: the same function, a little less coarsely rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cupola.workers.graph.block_graph import with_block_weights
from cupola.workers.graph.serving_graph import serving_graph
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.autotune import Autotune
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.w8a8 import distance, write_w8a8
from tests.workers.chosen_way import ChosenWay
from tests.workers.reference import DATA

PLENTY = 2**24
NEAR = 0.1
WIDTH = 16
FIRST, SECOND = [1, 72, 5, 260, 33, 99, 100, 14], [2, 17, 200, 201, 7, 8, 9, 35]


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_w8a8(tmp_path, tied=request.param)


def served(folder: Path) -> bytes:
    model = ModelFolder.read(folder)
    return serving_graph(model.decoder, model.head_size, padding=WIDTH).model


def kinds(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node]


def session(folder: Path, block_bytes: int, autotune: Autotune | None = None) -> DecoderSession:
    model = ModelFolder.read(folder)
    made = DecoderSession(
        model, slots=2, width=WIDTH, threads=1, block_bytes=block_bytes, autotune=autotune
    )
    made.wait()
    return made


@pytest.mark.slow
def test_all_products_and_what_stood_in_front_of_them_are_replaced(folder: Path) -> None:
    before = served(folder)
    made = with_block_weights(before, folder, PLENTY)
    assert made is not None
    products = kinds(before).count("MatMulIntegerToFloat")
    assert products > 8
    after = kinds(made.model)
    assert after.count("MatMulNBits") == products
    assert not {"MatMulIntegerToFloat", "QuantizeLinear", "Div"} & set(after)
    assert len(made.weights) == 2 * products
    assert len(after) < len(kinds(before)) - products


def test_weights_are_the_same_numbers(tmp_path: Path) -> None:
    """Also where the last block is not full."""
    chance = np.random.default_rng(1)
    weight = chance.integers(-127, 128, (100, 5)).astype(np.int8)
    scales = chance.random(5, np.float32)
    stored = {"w": weight, "s": scales, "one": np.float32(1), "middle": np.uint8(128)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "middle"], ["q"]),
        helper.make_node(
            "MatMulIntegerToFloat",
            ["q", "w", "one", "s", "middle"],
            ["y"],
            domain="com.microsoft",
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", 100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", 5])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )
    model = helper.make_model(graph).SerializeToString()
    made = with_block_weights(model, tmp_path, PLENTY)
    assert made is not None
    codes, each = made.weights.values()
    assert codes.shape == (5, 2, 64)
    found = (codes.astype(np.float32) - 128) * each.astype(np.float32)[:, :, None]
    assert (found.reshape(5, 128)[:, :100] == weight.T * scales[:, None]).all()
    assert (codes[:, 1, 36:] == 128).all()


@pytest.mark.slow
def test_nothing_is_made_of_other_products_or_of_too_large_ones(folder: Path) -> None:
    assert with_block_weights(served(DATA / "builder-fp32"), DATA / "builder-fp32", PLENTY) is None
    assert with_block_weights(served(DATA / "builder-int4"), DATA / "builder-int4", PLENTY) is None
    assert with_block_weights(served(folder), folder, 1000) is None


@pytest.mark.slow
def test_both_read_and_write_the_same_keys_and_values(folder: Path) -> None:
    plain, both = session(folder, 0), session(folder, PLENTY, chosen := ChosenWay())
    for blocks_first in (True, False):
        for at in range(0, 8, 2):
            chosen.other = (at // 2 % 2 == 0) == blocks_first
            rows = [Row(0, at, FIRST[at : at + 2], 1), Row(1, at, SECOND[at : at + 2], 2)]
            expected = plain.run(rows).copy()
            assert distance(both.run(rows), expected) < NEAR
    assert chosen.taken == 4
    # And it would show if they did not.
    without = plain.run([Row(1, 0, SECOND[6:], 1)])
    assert distance(without, expected[-1:]) > 4 * NEAR


@pytest.mark.slow
def test_the_session_starts_again_with_both(folder: Path) -> None:
    both = session(folder, PLENTY, chosen := ChosenWay())
    both.rebuild()
    expected = session(folder, 0).run([Row(0, 0, FIRST[:1], 1)])
    for chosen.other in (False, True):
        assert distance(both.run([Row(0, 0, FIRST[:1], 1)]), expected) < NEAR
    assert chosen.taken == 1


def test_a_model_without_such_products_runs_alone() -> None:
    alone = session(DATA / "builder-fp32", PLENTY)
    assert alone.blocks is not None and not alone.blocks.ready
