"""Makes a serving graph with keys and values of int8 from one with float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cupola.workers.graph import attention_layers as attention

# The value of one integer step: [layers, keys and values, heads, 1, head size].
Scales = NDArray[np.float32]
# Finds the scales that fit a model, given each channel's partner in the rotation.
Observe = Callable[[NDArray[np.int64]], Scales]

_K_SCALE, _V_SCALE = 12, 13  # positions of the inputs of GroupQueryAttention, by its schema
_SCALES = "cupola.{}.{}.scale"


def with_int8_cache(graph: bytes, head_size: int, observe: Observe) -> bytes:
    """The same graph over a cache of int8. It contains the scales that ``observe`` finds."""
    model = onnx.load_from_string(graph)
    layers = attention.attention_layers(model.graph)
    scales = observe(_partners(model.graph, layers[0], head_size))
    for layer, (node, parts) in enumerate(zip(layers, scales, strict=True)):
        kept = [each for each in node.attribute if not each.name.endswith("_quant_type")]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(
            helper.make_attribute(name, value)
            for name, value in (
                ("k_quant_type", "PER_CHANNEL"),
                ("v_quant_type", "PER_CHANNEL"),
                ("kv_cache_bit_width", 8),
            )
        )
        for part, place in enumerate((_K_SCALE, _V_SCALE)):
            name = node.input[place] = _SCALES.format(layer, part)
            model.graph.initializer.append(numpy_helper.from_array(parts[part][None], name))
    caches = {name for each in attention.cache_names(layers) for name in each}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in caches:
            value.type.tensor_type.elem_type = TensorProto.INT8
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def scales_of(graph: bytes) -> Scales:
    """The scales that such a graph contains."""
    model = onnx.load_from_string(graph)
    found = {each.name: each for each in model.graph.initializer}
    layers = range(len(attention.attention_layers(model.graph)))
    names = [[_SCALES.format(layer, part) for part in (0, 1)] for layer in layers]
    return np.array([[numpy_helper.to_array(found[name])[0] for name in each] for each in names])


def _partners(graph: onnx.GraphProto, node: onnx.NodeProto, head_size: int) -> NDArray[np.int64]:
    """The channel with which each channel of a key is rotated; itself, if it is not rotated."""
    attributes = {each.name: each.i for each in node.attribute}
    tables = {each.name: each.dims[1] for each in graph.initializer if len(each.dims) == 2}
    # Keys that were rotated before are assumed to be rotated as a whole and by halves.
    pairs = tables.get(node.input[attention.COS_CACHE], head_size // 2)
    channels = np.arange(head_size)
    rotated = channels[: 2 * pairs]
    if attributes.get("rotary_interleaved"):
        channels[: 2 * pairs] = rotated ^ 1
    else:
        channels[: 2 * pairs] = (rotated + pairs) % (2 * pairs)
    return channels
