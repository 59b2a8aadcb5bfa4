"""The ONNX graph of a decoder, in the form of onnxruntime-genai's model builder.

Inputs ``input_ids [batch, sequence]``, ``attention_mask [batch, total]`` and each layer's
``past_key_values.N.key|value [batch, kv_heads, past, head_size]``; outputs ``logits [batch,
sequence, vocabulary]`` and ``present.N.key|value``. Weights go to the data file as they are read.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.graph.blocks import DecoderBlocks, GraphContext
from cupola.cache.convert.graph.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.convert.graph.initializers import Initializers
from cupola.cache.convert.graph.norms import add_last_norm
from cupola.cache.convert.graph.projections import Projections
from cupola.cache.convert.weights.decoder_weights import DecoderWeights

_OPSET = 21
_IR_VERSION = 10


def decoder_graph(
    blocks: DecoderBlocks, weights: DecoderWeights, stored: Initializers
) -> onnx.ModelProto:
    """Writes the whole model. Raises ModelFileError for weights that cannot be used."""
    graph = _begin(weights, stored)
    x, residual = blocks.embedding.write(graph), ""
    for layer in range(graph.shape.layers):
        x, residual = blocks.layer.write(graph, layer, x, residual)
    norm = stored.constant("model.layers.final_norm.weight", weights.final_norm())
    blocks.head.write(graph, add_last_norm(graph, "/model/final_norm", x, residual, norm))
    main = helper.make_graph(
        graph.nodes.nodes, "main_graph", graph.inputs, graph.outputs, stored.tensors
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(
        main, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="cupola"
    )


def _begin(weights: DecoderWeights, stored: Initializers) -> GraphContext:
    nodes = GraphNodes()
    tokens = ["batch_size", "sequence_length"]
    total = ["batch_size", "total_sequence_length"]
    logits: list[str | int] = [*tokens, weights.shape.vocabulary]
    projections = Projections(nodes, stored)
    return GraphContext(
        weights=weights,
        stored=stored,
        nodes=nodes,
        projections=projections,
        inputs=[
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, total),
        ],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
        lengths=_add_lengths(nodes, stored),
        rotary=_store_rotary(weights, stored),
    )


def _add_lengths(nodes: GraphNodes, stored: Initializers) -> tuple[str, str]:
    """Adds what GroupQueryAttention reads of the sequences' lengths, from the attention mask."""
    at = "/model/attn_mask_reformat"
    one = stored.constant(f"{at}/one", np.array([1], np.int64))
    index = stored.constant(f"{at}/index", np.array(1, np.int64))
    tokens = nodes.add("ReduceSum", ["attention_mask", one], f"{at}/ReduceSum", keepdims=0)
    past = nodes.add("Sub", [tokens, one], f"{at}/Sub")
    past = nodes.add("Cast", [past], f"{at}/Sub/Cast", to=TensorProto.INT32)
    mask_shape = nodes.add("Shape", ["attention_mask"], f"{at}/Shape")
    longest = nodes.add("Gather", [mask_shape, index], f"{at}/Gather", axis=0)
    return past, nodes.add("Cast", [longest], f"{at}/Gather/Cast", to=TensorProto.INT32)


def _store_rotary(weights: DecoderWeights, stored: Initializers) -> tuple[str, str]:
    """Stores cosines and sines of the rotary angles, ``[context_length, head_size / 2]`` each."""
    size = weights.shape.head_size
    frequencies = weights.shape.rope_base ** -(np.arange(0, size, 2) / size)
    factors = weights.rope_factors()
    if factors is not None:
        frequencies = frequencies / factors
    angles = np.outer(np.arange(weights.shape.context_length), frequencies)
    cosines = stored.table("cos_cache", np.cos(angles).astype(np.float32))
    return cosines, stored.table("sin_cache", np.sin(angles).astype(np.float32))
