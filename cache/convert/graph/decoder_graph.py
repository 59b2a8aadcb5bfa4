"""The ONNX graph of a decoder, in the form of onnxruntime-genai's model builder.

Inputs ``input_ids [batch, sequence]``, ``attention_mask [batch, total]`` and each layer's
``past_key_values.N.key|value [batch, kv_heads, past, head_size]``; outputs ``logits [batch,
sequence, vocabulary]`` and ``present.N.key|value``. Weights go to the data file as they are read.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cupola.cache.convert.graph.blocks import DecoderBlocks, GraphContext
from cupola.cache.convert.graph.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.convert.graph.initializers import Initializers
from cupola.cache.convert.graph.norms import add_last_norm
from cupola.cache.convert.graph.projections import Projections
from cupola.cache.convert.weights.decoder_weights import DecoderWeights
from cupola.cache.convert.weights.rope import Rope

_OPSET = 21
_IR_VERSION = 10
_WAVES = (np.cos, np.sin)


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
    lengths = _add_lengths(nodes, stored)
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
        lengths=lengths,
        rotary=_add_rotary(weights, nodes, stored, lengths[1]),
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


def _add_rotary(
    weights: DecoderWeights, nodes: GraphNodes, stored: Initializers, longest: str
) -> dict[str, tuple[str, str]]:
    """Stores cosines and sines of the rotary angles, ``[context_length, channels / 2]`` each.

    Where texts of more tokens have other angles, the graph takes one of two pairs by ``longest``,
    the tokens of the longest sequence.
    """
    shape = weights.shape
    tables = {}
    for name, rope in shape.ropes.items():
        ending = "" if name == "global" else f"_{name}"
        names = f"cos_cache{ending}", f"sin_cache{ending}"
        if rope.long_frequencies is None:
            size = (shape.context_length, len(rope.frequencies))
            for table, wave in zip(names, _WAVES, strict=True):
                stored.pieces(table, size, rope.table(wave, shape.context_length))
        else:
            _choose_rotary(rope, shape.context_length, names, nodes, stored, longest)
        tables[name] = names
    return tables


def _choose_rotary(
    rope: Rope,
    context: int,
    names: tuple[str, str],
    nodes: GraphNodes,
    stored: Initializers,
    longest: str,
) -> None:
    at = "/model/rope_caches_subgraph"
    limit = stored.constant(f"{at}/short_context", np.array(rope.short_context, np.int32))
    is_long = nodes.add("Greater", [longest, limit], f"{at}/Greater")
    short = _branch(names, "small", rope, rope.short_context)
    long = _branch(names, "large", rope, context)
    nodes.add_many("If", [is_long], list(names), f"{at}/If", then_branch=long, else_branch=short)


def _branch(names: tuple[str, str], ending: str, rope: Rope, length: int) -> onnx.GraphProto:
    """A graph without inputs that gives the tables of ``length`` positions."""
    constants, outputs = [], []
    for name, wave in zip(names, _WAVES, strict=True):
        pieces = list(rope.table(wave, length, long=length > rope.short_context))
        tensor = numpy_helper.from_array(np.concatenate(pieces))
        table = f"{name}_{ending}"
        constants.append(helper.make_node("Constant", [], [table], name=table, value=tensor))
        outputs.append(helper.make_tensor_value_info(table, TensorProto.FLOAT, tensor.dims))
    return helper.make_graph(constants, f"{ending}_rotary_caches", [], outputs)
