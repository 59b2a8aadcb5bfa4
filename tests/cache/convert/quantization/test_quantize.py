"""Rounded weights are near, and ONNX Runtime reads them as they are meant."""

from typing import Any

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import onnxruntime
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given
from onnx import TensorProto, helper, numpy_helper

from cupola.cache.convert.quantization.quantize import BLOCK, block_size, quantize_rows

Array = npt.NDArray[np.float32]

WEIGHTS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 3).map(lambda blocks: blocks * BLOCK)),
    elements=st.floats(-1000, 1000, width=32),
)


@given(WEIGHTS)
def test_error_is_at_most_half_a_step(weights: Array) -> None:
    packed, scales = quantize_rows(weights)
    error = np.abs(dequantize_rows(packed, scales) - weights).reshape(*scales.shape, BLOCK)
    assert (error <= np.abs(scales[..., None]) * 0.5 * 1.001 + 1e-30).all()


@given(WEIGHTS)
def test_a_block_of_zeros_stays_zero(weights: Array) -> None:
    weights[:, :BLOCK] = 0
    restored = dequantize_rows(*quantize_rows(weights))
    assert (restored[:, :BLOCK] == 0).all()


def test_blocks_of_the_same_form_come_through() -> None:
    kind = GGMLQuantizationType.Q8_0
    random = np.random.default_rng(0)
    stored = dequantize(quantize(random.standard_normal((64, 96), np.float32), kind), kind)
    restored = dequantize_rows(*quantize_rows(stored))
    np.testing.assert_allclose(restored, stored, rtol=1e-6, atol=1e-7)


def test_onnxruntime_reads_it_as_we_do() -> None:
    random = np.random.default_rng(0)
    packed, scales = quantize_rows(random.standard_normal((50, 64), np.float32))
    expected = dequantize_rows(packed, scales)
    identity = np.eye(64, dtype=np.float32)
    multiplied = run(
        "MatMulNBits", identity, [packed, scales], N=50, K=64, bits=8, block_size=BLOCK
    )
    np.testing.assert_allclose(multiplied, expected.T, rtol=1e-6)
    looked_up = run(
        "GatherBlockQuantized",
        np.arange(50),
        [packed.reshape(50, -1), scales],
        data_first=True,
        bits=8,
        block_size=BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )
    np.testing.assert_array_equal(looked_up, expected)


def dequantize_rows(
    packed: npt.NDArray[np.uint8], scales: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The inverse of ``quantize_rows``: float32 ``[N, K]``."""
    centred = packed.astype(np.float32) - np.float32(128)
    return np.asarray((centred * scales[..., None]).reshape(len(packed), -1), dtype=np.float32)


def run(
    operator: str,
    x: npt.NDArray[np.generic],
    weights: list[npt.NDArray[np.generic]],
    data_first: bool = False,
    **attributes: Any,
) -> Array:
    inputs = ["data", "x", "scales"] if data_first else ["x", "data", "scales"]
    node = helper.make_node(operator, inputs, ["y"], domain="com.microsoft", **attributes)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(w, name)
            for w, name in zip(weights, ("data", "scales"), strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, {"x": x})[0]
    return result


def test_the_largest_block_is_taken_that_divides_a_row() -> None:
    assert [block_size(2048, most) for most in (128, 64, 32)] == [128, 64, 32]
    assert [block_size(576, most) for most in (128, 64, 32)] == [64, 64, 32]
    assert block_size(96, 128) == 32
    assert block_size(80, 128) == 0
