"""A model that is run part by part says what it says as a whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.convert.quality.parts import cut
from cupola.cache.convert.quality.runtime import Run, RunShape, decoder_feed, run_all
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.precision import Precision
from tests.cache.convert.plain_graph import Graph
from tests.cache.convert.tiny_family import FAMILIES, TEXTS

pytestmark = pytest.mark.slow

SMALL = 20_000  # bytes: about those of a projection


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "phi4-mini"])
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_the_logits_are_those_of_the_whole(
    family: str, precision: Precision, tmp_path: Path
) -> None:
    tiny = FAMILIES[family]
    folder = tmp_path / "model"
    convert(tiny.write_folder(tmp_path / "s"), folder, SMOLLM2_135M, precision=precision)
    shape = RunShape(tiny.layers, tiny.kv_heads, tiny.head_size, tiny.context)
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    runs = [Run(decoder_feed(ids, shape), ("logits",)) for ids in TEXTS]
    runs.append(Run(decoder_feed([1], shape, rows=3, past=4), ("logits",), steps=2))
    run_all(model, folder, runs, SMALL)
    whole = Graph(folder)
    for ids, run in zip(TEXTS, runs, strict=False):
        np.testing.assert_allclose(run.values["logits"][0], whole.logits(ids), atol=1e-3)
    assert [list(run.values) for run in runs] == [["logits"]] * 3  # nothing else is kept
    assert runs[2].values["logits"].shape[:2] == (3, 1)
    assert [run.seconds > 0 for run in runs] == [False, False, True]


def chain(*sizes: int) -> onnx.ModelProto:
    """``x`` plus a weight of each size, one after the other."""
    weights = [
        numpy_helper.from_array(np.ones(size, np.float32), f"w{n}") for n, size in enumerate(sizes)
    ]
    nodes = [
        helper.make_node("Concat", [f"x{n}" if n else "x", f"w{n}"], [f"x{n + 1}"], axis=0)
        for n in range(len(sizes))
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    end = helper.make_tensor_value_info(f"x{len(sizes)}", TensorProto.FLOAT, [None])
    graph = helper.make_graph(nodes, "chain", [x], [end], weights)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


@pytest.mark.parametrize(
    ("sizes", "limit", "parts"),
    [
        ((10, 10, 10, 10), 80, [2, 2]),
        ((10, 10, 10, 10), 79, [1, 1, 1, 1]),
        ((10, 10, 10, 10), 1000, [4]),
        ((10, 100, 10, 10), 80, [1, 1, 2]),  # a weight that is too large has a part of its own
    ],
)
def test_a_part_has_no_more_weights_than_it_may(
    sizes: tuple[int, ...], limit: int, parts: list[int]
) -> None:
    found = cut(chain(*sizes), [f"x{len(sizes)}"], limit)
    assert [len(part.nodes) for part in found] == parts
    for part in found:
        size = sum(4 * math.prod(weight.dims) for weight in part.weights)
        assert size <= limit or len(part.weights) == 1


def test_what_nothing_needs_is_not_run(tmp_path: Path) -> None:
    model = chain(2, 2, 2, 2)
    run = Run({"x": np.zeros(1, np.float32)}, ("x2", "x1"))
    assert [len(part.nodes) for part in cut(model, run.wanted, 1)] == [1, 1]
    run_all(model, tmp_path, [run], 1)
    assert {name: len(values) for name, values in run.values.items()} == {"x1": 3, "x2": 5}


def test_values_that_are_not_finite_are_found_where_they_are_wanted(tmp_path: Path) -> None:
    broken = {"x": np.full(1, np.inf, np.float32)}
    with pytest.raises(BrokenFileError, match="not finite"):
        run_all(chain(2, 2), tmp_path, [Run(broken, ("x2",))], 1)


def test_a_model_that_does_not_run_is_said_so(tmp_path: Path) -> None:
    wrong = {"x": np.zeros((1, 2), np.float32)}  # another rank than the weights
    with pytest.raises(UnsupportedError, match="cannot run"):
        run_all(chain(2, 2), tmp_path, [Run(wrong, ("x2",))], 1)
