"""Layers: how attention and an MLP stand in the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

from cupola.cache.convert.graph.blocks import Block, GraphContext
from cupola.cache.convert.graph.norms import add_norm, add_skip_norm
from cupola.cache.convert.weights.decoder_weights import ATTENTION_NORM, MLP_NORM


@dataclass(frozen=True, slots=True)
class PreNormLayer:
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    attention: Block
    mlp: Block

    def write(self, graph: GraphContext, layer: int, x: str, residual: str) -> tuple[str, str]:
        at, name = f"/model/layers.{layer}", f"model.layers.{layer}"
        values = graph.weights.norm(layer, ATTENTION_NORM)
        weight = graph.stored.constant(f"{name}.input_layernorm.weight", values)
        if residual:
            normed, residual = add_skip_norm(graph, f"{at}/input_layernorm", x, residual, weight)
        else:
            normed, residual = add_norm(graph, f"{at}/input_layernorm", x, weight), x
        attended = self.attention.write(graph, layer, normed)
        values = graph.weights.norm(layer, MLP_NORM)
        weight = graph.stored.constant(f"{name}.post_attention_layernorm.weight", values)
        at = f"{at}/post_attention_layernorm"
        normed, residual = add_skip_norm(graph, at, attended, residual, weight)
        return self.mlp.write(graph, layer, normed), residual
