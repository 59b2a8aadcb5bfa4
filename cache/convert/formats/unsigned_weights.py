"""Makes a graph whose integer products read unsigned weights.

Processors without VNNI multiply pairs of bytes and add the two products in 16 bits. Of unsigned and
signed bytes the sums may not fit, so results would be wrong. For bytes that are both unsigned
ONNX Runtime has kernels that widen them first, which are exact and as fast. So the weights get 128
more, and a zero point of 128.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cupola.cache.system.processor import integer_products

_MIDDLE = "cupola.unsigned.middle"
_WEIGHT, _ZERO_POINT = 1, 5  # the inputs of MatMulIntegerToFloat


def for_this_processor(graph: bytes) -> bytes:
    """The same function, in a form that this machine computes exactly."""
    return with_unsigned_weights(graph) if integer_products().saturate else graph


def with_unsigned_weights(graph: bytes) -> bytes:
    """The same function. The runtime converts the weights once, when a session starts."""
    model = onnx.load_from_string(graph)
    signed = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.INT8
    }
    converted: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        name = node.input[_WEIGHT] if node.op_type == "MatMulIntegerToFloat" else ""
        if name in signed and not any(node.input[_ZERO_POINT : _ZERO_POINT + 1]):
            if name not in converted:
                converted[name] = f"{name}.unsigned"
                signed[name].data_type = TensorProto.UINT8  # the same bytes
                xor = helper.make_node("BitwiseXor", [name, _MIDDLE], [converted[name]])
                nodes.append(xor)
            inputs = [*node.input, *[""] * (_ZERO_POINT + 1 - len(node.input))]
            inputs[_WEIGHT], inputs[_ZERO_POINT] = converted[name], _MIDDLE
            del node.input[:]
            node.input.extend(inputs)
        nodes.append(node)
    if not converted:
        return graph
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), _MIDDLE))
    return bytes(model.SerializeToString())
