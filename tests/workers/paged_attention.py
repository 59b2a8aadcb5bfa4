"""PagedAttention and its neighbours in NumPy, from their schemas. The runtime has it on GPUs only.

With it ``onnx.reference`` runs a paged graph on a CPU. What is not needed by the graphs of the
tests is refused.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = NDArray[Any]


class PagedAttention(OpRun):
    op_domain = "com.microsoft"

    def _run(self, *inputs: Array | None, **attributes: Any) -> tuple[Array, Array, Array]:
        query, key, value, keys, values, ends, past, table, cos, sin = inputs[:10]
        assert query is not None and keys is not None and values is not None
        assert ends is not None and past is not None and table is not None
        assert inputs[11] is None and attributes.get("softcap") in (None, 0.0)
        heads, kv_heads = attributes["num_heads"], attributes["kv_num_heads"]
        window = attributes.get("local_window_size")
        size = keys.shape[3]
        if key is None or value is None:
            cuts = [heads * size, (heads + kv_heads) * size]
            query, key, value = np.split(query, cuts, axis=1)
        keys, values, outputs = keys.copy(), values.copy(), []
        for row, (start, end) in enumerate(pairwise(ends)):
            new = np.arange(past[row], past[row] + end - start)
            q, k, v = (
                part[start:end].reshape(end - start, -1, size) for part in (query, key, value)
            )
            if attributes.get("do_rotary"):
                assert cos is not None and sin is not None
                assert not attributes.get("rotary_interleaved")
                q, k = (rotated(part, cos[new], sin[new]) for part in (q, k))
            blocks, places = table[row][new // keys.shape[1]], new % keys.shape[1]
            assert (blocks >= 0).all()
            keys[blocks, places], values[blocks, places] = k, v
            whole = np.arange(past[row] + end - start)
            seen = table[row][whole // keys.shape[1]], whole % keys.shape[1]
            hidden = whole[None] > new[:, None]
            if window and window > 0:
                hidden |= whole[None] <= new[:, None] - window
            scale = attributes.get("scale") or size**-0.5
            outputs.append(attended(q, keys[seen], values[seen], scale, hidden))
        return np.concatenate(outputs).astype(query.dtype), keys, values


def rotated(x: Array, cos: Array, sin: Array) -> Array:
    """``x [tokens, heads, size]``, whose first and second half of the rotated part are pairs."""
    half = cos.shape[1]
    cos, sin = (part[:, None].astype(np.float32) for part in (cos, sin))
    one, two = x[..., :half].astype(np.float32), x[..., half : 2 * half].astype(np.float32)
    rest = x[..., 2 * half :]
    turned = (one * cos - two * sin, two * cos + one * sin)
    return np.concatenate((*turned, rest), axis=-1).astype(x.dtype)


def attended(q: Array, k: Array, v: Array, scale: float, hidden: Array) -> Array:
    groups = q.shape[1] // k.shape[1]
    k, v = (np.repeat(part.astype(np.float32), groups, axis=1) for part in (k, v))
    scores = np.einsum("qhd,khd->hqk", q.astype(np.float32), k) * scale
    scores[:, hidden] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed: Array = np.einsum("hqk,khd->qhd", weights, v)
    return mixed.reshape(len(q), -1)


def norm(x: Array, weight: Array, epsilon: float) -> Array:
    normed: Array = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * weight
    return normed


class SimplifiedLayerNormalization(OpRun):
    def _run(self, x: Array, weight: Array, **attributes: Any) -> tuple[Array]:
        return (norm(x, weight, attributes["epsilon"]),)


class SkipSimplifiedLayerNormalization(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x: Array, skip: Array, weight: Array, **attributes: Any) -> tuple[Any, ...]:
        total = x + skip
        unused = np.empty(0)
        results = (norm(total, weight, attributes["epsilon"]), unused, unused, total)
        return results[: len(self.onnx_node.output)]


def evaluator(model: ModelProto) -> ReferenceEvaluator:
    for number, node in enumerate(model.graph.node):  # else "" gets a value, as input and output
        node.output[:] = [name or f"unused.{number}.{at}" for at, name in enumerate(node.output)]
    operators = [PagedAttention, SimplifiedLayerNormalization, SkipSimplifiedLayerNormalization]
    return ReferenceEvaluator(model, new_ops=operators)
