"""Layers: how attention and an MLP stand in the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cupola.cache.convert.graph.blocks import Block, GraphContext
from cupola.cache.convert.graph.norms import add_norm, add_skip_norm
from cupola.cache.convert.weights.decoder_weights import (
    ATTENTION_NORM,
    ATTENTION_POST_NORM,
    MLP_NORM,
    MLP_POST_NORM,
)


@dataclass(frozen=True, slots=True)
class PreNormLayer:
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    attention: Block
    mlp: Block

    def write(self, graph: GraphContext, layer: int, x: str, residual: str) -> tuple[str, str]:
        at = f"/model/layers.{layer}"
        normed, residual = add_to_stream(
            graph, f"{at}/input_layernorm", layer, ATTENTION_NORM, x, residual
        )
        attended = add_residual_scale(
            graph, f"{at}/attn", self.attention.write(graph, layer, normed)
        )
        normed, residual = add_to_stream(
            graph, f"{at}/post_attention_layernorm", layer, MLP_NORM, attended, residual
        )
        x = add_residual_scale(graph, f"{at}/mlp", self.mlp.write(graph, layer, normed))
        return x, residual


@dataclass(frozen=True, slots=True)
class SandwichNormLayer:
    """``x + norm(attention(norm(x)))``, then ``x + norm(mlp(norm(x)))``."""

    attention: Block
    mlp: Block

    def write(self, graph: GraphContext, layer: int, x: str, residual: str) -> tuple[str, str]:
        at = f"/model/layers.{layer}"
        normed, residual = add_to_stream(
            graph, f"{at}/input_layernorm", layer, ATTENTION_NORM, x, residual
        )
        attended = self.attention.write(graph, layer, normed)
        attended = _norm(
            graph, f"{at}/post_attention_layernorm", layer, ATTENTION_POST_NORM, attended
        )
        normed, residual = add_to_stream(
            graph, f"{at}/pre_feedforward_layernorm", layer, MLP_NORM, attended, residual
        )
        x = self.mlp.write(graph, layer, normed)
        return _norm(graph, f"{at}/post_feedforward_layernorm", layer, MLP_POST_NORM, x), residual


def add_to_stream(
    graph: GraphContext, at: str, layer: int, norm: str, x: str, residual: str
) -> tuple[str, str]:
    """Adds ``x`` to the stream, and norms it. Returns the names of the norm's output and the sum.

    ``residual``: the stream; empty in front of the first layer.
    """
    weight = graph.stored.constant(f"{_name(at)}.weight", graph.weights.norm(layer, norm))
    if residual:
        return add_skip_norm(graph, at, x, residual, weight)
    return add_norm(graph, at, x, weight), x


def add_residual_scale(graph: GraphContext, at: str, x: str) -> str:
    """Multiplies what a half of a layer adds to the stream."""
    scale = graph.shape.residual_scale
    if scale == 1:
        return x
    stored = graph.stored.constant(f"{_name(at)}.residual_scale", np.array(scale, np.float32))
    return graph.nodes.add("Mul", [x, stored], f"{at}/residual_scale/Mul")


def _norm(graph: GraphContext, at: str, layer: int, norm: str, x: str) -> str:
    weight = graph.stored.constant(f"{_name(at)}.weight", graph.weights.norm(layer, norm))
    return add_norm(graph, at, x, weight)


def _name(at: str) -> str:
    return at.lstrip("/").replace("/", ".")
