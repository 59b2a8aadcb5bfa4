"""The two ends of a decoder: the token embedding, and the output layer, which may share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cupola.cache.convert.graph.blocks import GraphContext
from cupola.cache.convert.graph.graph_nodes import MICROSOFT
from cupola.cache.precision import Precision

_SHARED = "lm_head.MatMul.weight"  # a tied embedding, stored once for both ends


@dataclass(frozen=True, slots=True)
class TokenEmbedding:
    """A lookup in a table ``[vocabulary, hidden]``, perhaps multiplied."""

    def write(self, graph: GraphContext) -> str:
        looked_up = self._look_up(graph)
        scale = graph.shape.embedding_scale
        if scale == 1:
            return looked_up
        stored = graph.stored.constant("model.embed_tokens.scale", np.array(scale, np.float32))
        return graph.nodes.add("Mul", [looked_up, stored], "/model/embed_tokens/Mul")

    def _look_up(self, graph: GraphContext) -> str:
        if graph.precision.is_float:
            return self._write_float(graph)
        shared = _is_shared(graph)
        matrix, at = graph.weights.embedding(), "/model/embed_tokens"
        name = _SHARED if shared else "model.embed_tokens.MatMul.weight"
        table, scales = graph.stored.quantized_matrix(name, matrix, flat=not shared)
        if shared:
            rows, columns = matrix.shape
            flat = (rows, columns)
            table = graph.stored.view(table, "model.embed_tokens.weight", flat)
        return graph.nodes.add(
            "GatherBlockQuantized",
            [table, "input_ids", scales],
            f"{at}/GatherBlockQuantized",
            domain=MICROSOFT,
            bits=8,
            block_size=graph.stored.block_size(matrix.shape[1]),
            gather_axis=0,
            quantize_axis=1,
        )

    def _write_float(self, graph: GraphContext) -> str:
        matrix, at = graph.weights.embedding(), "/model/embed_tokens"
        if _is_shared(graph):
            stored = graph.stored.float_matrix(_SHARED, matrix, transposed=True)
            stored = graph.projections.as_float(stored, at)
            table = graph.nodes.add("Transpose", [stored], f"{at}/Transpose", perm=[1, 0])
        else:
            table = graph.stored.float_matrix("model.embed_tokens.weight", matrix, transposed=False)
            table = graph.projections.as_float(table, at)
        return graph.nodes.add("Gather", [table, "input_ids"], f"{at}/Gather")


@dataclass(frozen=True, slots=True)
class OutputLayer:
    """A projection to the vocabulary."""

    def write(self, graph: GraphContext, x: str) -> None:
        cap = graph.shape.logit_cap
        if not cap:
            self._project(graph, x, "logits")
            return
        stored = graph.stored.constant("lm_head.cap", np.array(cap, np.float32))
        logits = self._project(graph, x, None)
        logits = graph.nodes.add("Div", [logits, stored], "/lm_head/cap/Div")
        logits = graph.nodes.add("Tanh", [logits], "/lm_head/cap/Tanh")
        graph.nodes.add("Mul", [logits, stored], "/lm_head/cap/Mul", "logits")

    def _project(self, graph: GraphContext, x: str, output: str | None) -> str:
        weights = graph.weights
        if not weights.tied:
            return graph.projections.add(x, weights.head(), "/lm_head", output)
        rotation = weights.head_rotation()
        if rotation is not None:
            stored = graph.stored.table("lm_head.turn", rotation)
            x = graph.nodes.add("MatMul", [x, stored], "/lm_head/turn/MatMul")
        if _is_shared(graph):
            shape = (graph.shape.vocabulary, graph.shape.hidden)
            return graph.projections.add_stored(x, _SHARED, shape, "/lm_head", output)
        return graph.projections.add(x, weights.embedding(), "/lm_head", output)


def _is_shared(graph: GraphContext) -> bool:
    """Whether the embedding is stored once. An integer product needs a layout of its own."""
    return graph.weights.tied and graph.precision is not Precision.W8A8
