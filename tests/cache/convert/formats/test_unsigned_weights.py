"""Integer products are exact on every processor, also where sums of two products are of 16 bits."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from cupola.cache.convert.formats.unsigned_weights import for_this_processor, with_unsigned_weights

Codes = npt.NDArray[np.int8]

INSIDE, OUTSIDE = 64, 48


def product(weights: Codes, *, readers: int = 1, zero_point: bool = False) -> bytes:
    """A graph whose outputs are ``(x - 128) @ weights``, ``readers`` times."""
    tensors = {"w": weights, "one": np.float32(1), "middle": np.uint8(128), "zero": np.int8(0)}
    inputs = ["x", "w", "one", "one", "middle", *["zero"] * zero_point]
    names = [f"y{number}" for number in range(readers)]
    graph = helper.make_graph(
        [
            helper.make_node("MatMulIntegerToFloat", inputs, [name], domain="com.microsoft")
            for name in names
        ],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", INSIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(np.array(each), name) for name, each in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


def results(graph: bytes, x: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("make", [with_unsigned_weights, for_this_processor])
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("readers", [1, 2])
def test_the_largest_sums_are_exact(make: object, rows: int, readers: int) -> None:
    """255 * 127 + 255 * 127 is more than 16 bits hold; so it is below."""
    assert callable(make)
    random = np.random.default_rng(rows)
    weights = random.choice(np.array([-127, 127, 126], np.int8), (INSIDE, OUTSIDE))
    weights[:, 0], weights[:, 1] = 127, -127
    x = random.choice(np.array([0, 1, 255], np.uint8), (rows, INSIDE))
    x[0] = 255
    expected = (x.astype(np.int64) - 128) @ weights.astype(np.int64)
    found = results(make(product(weights, readers=readers)), x)
    assert len(found) == readers
    for each in found:
        assert np.array_equal(each, expected)


def test_other_graphs_stay_as_they_are() -> None:
    weights = np.ones((INSIDE, OUTSIDE), np.int8)
    explicit = product(weights, zero_point=True)
    assert with_unsigned_weights(explicit) == explicit
    once = with_unsigned_weights(product(weights))
    assert with_unsigned_weights(once) == once
    kinds = {
        tensor.name: tensor.data_type for tensor in onnx.load_from_string(once).graph.initializer
    }
    assert kinds["w"] == TensorProto.UINT8
