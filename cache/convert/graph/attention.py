"""Attention blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.graph.blocks import GraphContext
from cupola.cache.convert.graph.graph_nodes import MICROSOFT
from cupola.cache.convert.graph.norms import add_norm
from cupola.cache.convert.weights.decoder_weights import Projection


@dataclass(frozen=True, slots=True)
class GroupedQueryAttention:
    """Attention whose K/V heads each serve a group of query heads.

    The shape says which layers see all tokens, and which of them use positions. ``head_norms``:
    each head's queries and keys have a norm in front of their rotation (Qwen 3, Gemma 3).
    """

    head_norms: bool = False

    def write(self, graph: GraphContext, layer: int, x: str) -> str:
        """See ``Block``."""
        at = f"/model/layers.{layer}/attn"
        packed = graph.weights.projection(layer, Projection.QKV)
        qkv = graph.projections.add(x, packed, f"{at}/qkv_proj", normed=True)
        bias = graph.weights.qkv_bias(layer)
        if bias is not None:
            stored = graph.stored.constant(f"model.layers.{layer}.attn.qkv_proj.Add.bias", bias)
            qkv = graph.nodes.add("Add", [qkv, stored], f"{at}/qkv_proj/Add")
        attended = self._attend(graph, layer, qkv)
        output = graph.weights.projection(layer, Projection.OUTPUT)
        return graph.projections.add(attended, output, f"{at}/o_proj")

    def _attend(self, graph: GraphContext, layer: int, qkv: str) -> str:
        shape, at = graph.shape, f"/model/layers.{layer}/attn/GroupQueryAttention"
        own = shape.attentions[layer]
        pasts, presents = [], []
        for which in ("key", "value"):
            past, present = f"past_key_values.{layer}.{which}", f"present.{layer}.{which}"
            graph.inputs.append(_cache(graph, past, "past_sequence_length"))
            graph.outputs.append(_cache(graph, present, "total_sequence_length"))
            pasts.append(past)
            presents.append(present)
        # Queries, keys and values are one input, or three.
        parts = self._normed_parts(graph, layer, qkv) if self.head_norms else [qkv, "", ""]
        graph.nodes.add_many(
            "GroupQueryAttention",
            [*parts, *pasts, *graph.lengths, *(graph.rotary[own.rope] if own.rope else ())],
            [f"{at}/output_0", *presents],
            at,
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.score_scale,
            softcap=shape.score_cap,
            local_window_size=own.window or -1,
            do_rotary=int(bool(own.rope)),
            rotary_interleaved=0,
        )
        return f"{at}/output_0"

    def _normed_parts(self, graph: GraphContext, layer: int, qkv: str) -> list[str]:
        """Splits ``qkv`` and norms its heads, which the attention operator cannot do on a CPU."""
        shape, at = graph.shape, f"/model/layers.{layer}/attn"
        sizes = [heads * shape.head_size for heads in (shape.heads, shape.kv_heads, shape.kv_heads)]
        stored = graph.stored.constant(f"{at}/qkv_proj/sizes", np.array(sizes, np.int64))
        parts = [f"{at}/qkv_proj/Split/output_{place}" for place in range(3)]
        graph.nodes.add_many("Split", [qkv, stored], parts, f"{at}/qkv_proj/Split", axis=-1)
        queries, keys, values = parts
        return [
            _head_norm(graph, layer, "q", queries, sizes[0]),
            _head_norm(graph, layer, "k", keys, sizes[1]),
            values,
        ]


def _head_norm(graph: GraphContext, layer: int, which: str, part: str, width: int) -> str:
    """Norms each head of ``part [batch, tokens, width]``."""
    weight = graph.weights.head_norm(layer, f"attn_{which}_norm")
    at, name = f"/model/layers.{layer}/attn/{which}_norm", f"model.layers.{layer}.attn.{which}_norm"
    by_head = graph.stored.constant(f"{at}/by_head", np.array([0, -1, len(weight)], np.int64))
    whole = graph.stored.constant(f"{at}/together", np.array([0, -1, width], np.int64))
    heads = graph.nodes.add("Reshape", [part, by_head], f"{at}/Reshape_1")
    normed = add_norm(graph, at, heads, graph.stored.constant(f"{name}.weight", weight))
    return graph.nodes.add("Reshape", [normed, whole], f"{at}/Reshape_2")


def _cache(graph: GraphContext, name: str, length: str) -> onnx.ValueInfoProto:
    sizes: list[str | int] = ["batch_size", graph.shape.kv_heads, length, graph.shape.head_size]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
