"""MLP blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cupola.cache.convert.graph.blocks import GraphContext
from cupola.cache.convert.graph.graph_nodes import MICROSOFT
from cupola.cache.convert.weights.decoder_weights import Projection
from cupola.cache.precision import Precision

# Adds an activation of ``x``; its last argument is where. Returns the name of its output.
Activation = Callable[[GraphContext, str, str], str]


def silu(graph: GraphContext, x: str, at: str) -> str:
    """``x * sigmoid(x)``."""
    if graph.precision is Precision.W8A8:
        return graph.nodes.add("QuickGelu", [x], f"{at}/Mul", domain=MICROSOFT, alpha=1.0)
    sigmoid = graph.nodes.add("Sigmoid", [x], f"{at}/Sigmoid")
    return graph.nodes.add("Mul", [x, sigmoid], f"{at}/Mul")


def gelu_tanh(graph: GraphContext, x: str, at: str) -> str:
    """GELU by its approximation with tanh."""
    return graph.nodes.add("Gelu", [x], f"{at}/Gelu", approximate="tanh")


@dataclass(frozen=True, slots=True)
class GatedMlp:
    """``down(activation(gate(x)) * up(x))`` (https://arxiv.org/abs/2002.05202)."""

    activation: Activation = silu

    def write(self, graph: GraphContext, layer: int, x: str) -> str:
        weights, at = graph.weights, f"/model/layers.{layer}/mlp"

        def project(which: Projection, name: str) -> str:
            matrix = weights.projection(layer, which)
            return graph.projections.add(x, matrix, f"{at}/{name}", normed=True)

        gate = project(Projection.GATE, "gate_proj")
        up = project(Projection.UP, "up_proj")
        product = graph.nodes.add(
            "Mul", [self.activation(graph, gate, f"{at}/act_fn"), up], f"{at}/Mul"
        )
        down = weights.projection(layer, Projection.DOWN)
        if down.rotated_inputs:
            width = down.shape[1]
            product = graph.projections.rotate(product, width, down.rotated_inputs, f"{at}/turn")
        return graph.projections.add(product, down, f"{at}/down_proj")
