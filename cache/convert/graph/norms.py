"""RMS norms in a decoder's graph, alone or fused with the residual sum in front of them."""

from __future__ import annotations

from cupola.cache.convert.graph.blocks import GraphContext
from cupola.cache.convert.graph.graph_nodes import MICROSOFT


def add_norm(graph: GraphContext, at: str, x: str, weight: str) -> str:
    """Adds the RMS norm of ``x``, over its last axis. Returns the name of its output."""
    return graph.nodes.add(
        "SimplifiedLayerNormalization",
        [x, weight],
        f"{at}/LayerNorm",
        axis=-1,
        epsilon=graph.shape.norm_epsilon,
        stash_type=1,
    )


def add_skip_norm(
    graph: GraphContext, at: str, x: str, residual: str, weight: str
) -> tuple[str, str]:
    """Adds ``x`` to ``residual``. Returns the names of the RMS norm of the sum and of the sum."""
    normed, total = f"{at}/output_0", f"{at}/output_3"
    _add(graph, at, x, residual, weight, [normed, "", "", total])
    return normed, total


def add_last_norm(graph: GraphContext, at: str, x: str, residual: str, weight: str) -> str:
    """As ``add_skip_norm``, without the sum, which nobody reads behind the last layer."""
    normed = f"{at}/output_0"
    _add(graph, at, x, residual, weight, [normed])
    return normed


def _add(
    graph: GraphContext, at: str, x: str, residual: str, weight: str, outputs: list[str]
) -> None:
    graph.nodes.add_many(
        "SkipSimplifiedLayerNormalization",
        [residual, x, weight],
        outputs,
        f"{at}/SkipLayerNorm",
        domain=MICROSOFT,
        epsilon=graph.shape.norm_epsilon,
    )
