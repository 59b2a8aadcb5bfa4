"""Builds the ONNX graph of a decoder: the one that onnxruntime-genai's model builder makes.

Inputs ``input_ids [batch, sequence]``, ``attention_mask [batch, total]`` and each layer's
``past_key_values.N.key|value [batch, kv_heads, past, head_size]``; outputs ``logits [batch,
sequence, vocabulary]`` and ``present.N.key|value``. Weights go to the data file as they are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.architecture import DecoderWeights
from cupola.cache.convert.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.convert.initializers import Initializers
from cupola.cache.convert.projections import Projections
from cupola.cache.convert.quantization.quantize import block_size
from cupola.cache.precision import Precision

_OPSET = 21
_IR_VERSION = 10


class DecoderGraph:
    """One decoder being built."""

    def __init__(self, weights: DecoderWeights, initializers: Initializers) -> None:
        self._weights = weights
        self._shape = weights.shape
        self._stored = initializers
        self._precision = initializers.precision
        self._nodes = GraphNodes()
        self._projections = Projections(self._nodes, initializers)
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def build(self) -> onnx.ModelProto:
        """The whole model. Raises ModelFileError for weights that cannot be used."""
        shape = self._shape
        self._inputs += [
            _value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
            _value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        ]
        logits: list[str | int] = ["batch_size", "sequence_length", shape.vocabulary]
        self._outputs += [_value("logits", TensorProto.FLOAT, logits)]
        self._lengths()
        self._rotary_caches()
        hidden = self._embedding()
        residual = ""
        for layer in range(shape.layers):
            hidden, residual = self._layer(layer, hidden, residual)
        norm = self._stored.constant("model.layers.final_norm.weight", self._weights.final_norm())
        (hidden,) = self._skip_norm("/model/final_norm", residual, hidden, norm, last=True)
        self._head(hidden)
        self._weights.refuse_unused()
        graph = helper.make_graph(
            self._nodes.made, "main_graph", self._inputs, self._outputs, self._stored.tensors
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="cupola"
        )

    def _lengths(self) -> None:
        """What GroupQueryAttention wants to know, from the attention mask."""
        at = "/model/attn_mask_reformat"
        one = self._stored.constant(f"{at}/one", np.array([1], np.int64))
        index = self._stored.constant(f"{at}/index", np.array(1, np.int64))
        total = self._nodes.add("ReduceSum", ["attention_mask", one], f"{at}/ReduceSum", keepdims=0)
        past = self._nodes.add("Sub", [total, one], f"{at}/Sub")
        self._seqlens_k = self._nodes.add("Cast", [past], f"{at}/Sub/Cast", to=TensorProto.INT32)
        mask_shape = self._nodes.add("Shape", ["attention_mask"], f"{at}/Shape")
        length = self._nodes.add("Gather", [mask_shape, index], f"{at}/Gather", axis=0)
        self._total = self._nodes.add("Cast", [length], f"{at}/Gather/Cast", to=TensorProto.INT32)

    def _rotary_caches(self) -> None:
        size = self._shape.head_size
        frequencies = self._shape.rope_base ** -(np.arange(0, size, 2) / size)
        factors = self._weights.rope_factors()
        if factors is not None:
            frequencies = frequencies / factors
        angles = np.outer(np.arange(self._shape.context_length), frequencies)
        self._cos = self._stored.table("cos_cache", np.cos(angles).astype(np.float32))
        self._sin = self._stored.table("sin_cache", np.sin(angles).astype(np.float32))

    def _layer(self, layer: int, hidden: str, residual: str) -> tuple[str, str]:
        """One block: takes the sum so far in two parts, and gives it back in two parts.

        ``hidden`` is not yet added to ``residual``: the next norm does both at once. ``residual``
        is empty before the first layer.
        """
        weights, at = self._weights, f"/model/layers.{layer}"
        name = f"model.layers.{layer}"
        norm = self._stored.constant(f"{name}.input_layernorm.weight", weights.norm(layer, "attn"))
        if residual:
            normed, residual = self._skip_norm(f"{at}/input_layernorm", residual, hidden, norm)
        else:
            normed, residual = self._first_norm(f"{at}/input_layernorm", hidden, norm), hidden
        packed = weights.qkv(layer)
        qkv = self._projections.add(normed, packed, f"{at}/attn/qkv_proj", normed=True)
        bias = weights.qkv_bias(layer)
        if bias is not None:
            stored = self._stored.constant(f"{name}.attn.qkv_proj.Add.bias", bias)
            qkv = self._nodes.add("Add", [qkv, stored], f"{at}/attn/qkv_proj/Add")
        attention = self._attention(layer, qkv)
        output = weights.attention_output(layer)
        attended = self._projections.add(attention, output, f"{at}/attn/o_proj")
        norm = self._stored.constant(
            f"{name}.post_attention_layernorm.weight", weights.norm(layer, "ffn")
        )
        normed, residual = self._skip_norm(
            f"{at}/post_attention_layernorm", residual, attended, norm
        )
        return self._mlp(layer, normed), residual

    def _attention(self, layer: int, qkv: str) -> str:
        shape, at = self._shape, f"/model/layers.{layer}/attn/GroupQueryAttention"
        pasts, presents = [], []
        for which in ("key", "value"):
            past, present = f"past_key_values.{layer}.{which}", f"present.{layer}.{which}"
            self._inputs.append(self._cache(past, "past_sequence_length"))
            self._outputs.append(self._cache(present, "total_sequence_length"))
            pasts.append(past)
            presents.append(present)
        lengths = [self._seqlens_k, self._total]
        self._nodes.add_many(
            "GroupQueryAttention",
            [*self._head_norms(layer, qkv), *pasts, *lengths, self._cos, self._sin],
            [f"{at}/output_0", *presents],
            at,
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.head_size**-0.5,
            do_rotary=1,
            rotary_interleaved=0,
        )
        return f"{at}/output_0"

    def _head_norms(self, layer: int, qkv: str) -> list[str]:
        """What attention reads: all in one, or three where queries and keys have norms of their
        own, which the operator does not know on a CPU."""
        if self._weights.head_norm(layer, "q") is None:
            return [qkv, "", ""]
        shape, at = self._shape, f"/model/layers.{layer}/attn"
        sizes = [heads * shape.head_size for heads in (shape.heads, shape.kv_heads, shape.kv_heads)]
        stored = self._stored.constant(f"{at}/qkv_proj/sizes", np.array(sizes, np.int64))
        parts = [f"{at}/qkv_proj/Split/output_{place}" for place in range(3)]
        self._nodes.add_many("Split", [qkv, stored], parts, f"{at}/qkv_proj/Split", axis=-1)
        normed = [
            self._head_norm(layer, which, part, size)
            for which, part, size in zip("qk", parts, sizes, strict=False)
        ]
        return [*normed, parts[2]]

    def _head_norm(self, layer: int, which: str, part: str, size: int) -> str:
        weight, at = (
            self._weights.head_norm(layer, which),
            f"/model/layers.{layer}/attn/{which}_norm",
        )
        assert weight is not None
        name = f"model.layers.{layer}.attn.{which}_norm.weight"
        by_head = self._stored.constant(f"{at}/by_head", np.array([0, -1, len(weight)], np.int64))
        together = self._stored.constant(f"{at}/together", np.array([0, -1, size], np.int64))
        heads = self._nodes.add("Reshape", [part, by_head], f"{at}/Reshape_1")
        normed = self._first_norm(at, heads, self._stored.constant(name, weight))
        return self._nodes.add("Reshape", [normed, together], f"{at}/Reshape_2")

    def _cache(self, name: str, length: str) -> onnx.ValueInfoProto:
        sizes = (self._shape.kv_heads, self._shape.head_size)
        return _value(name, TensorProto.FLOAT, ["batch_size", sizes[0], length, sizes[1]])

    def _mlp(self, layer: int, normed: str) -> str:
        weights, at = self._weights, f"/model/layers.{layer}/mlp"
        gate = self._projections.add(normed, weights.gate(layer), f"{at}/gate_proj", normed=True)
        up = self._projections.add(normed, weights.up(layer), f"{at}/up_proj", normed=True)
        product = self._nodes.add("Mul", [self._silu(gate, f"{at}/act_fn"), up], f"{at}/Mul")
        down = weights.down(layer)
        if down.turned_inputs:
            width = down.shape[1]
            product = self._projections.turn(product, width, down.turned_inputs, f"{at}/turn")
        return self._projections.add(product, down, f"{at}/down_proj")

    def _silu(self, x: str, at: str) -> str:
        if self._precision is Precision.W8A8:
            return self._nodes.add("QuickGelu", [x], f"{at}/Mul", domain=MICROSOFT, alpha=1.0)
        sigmoid = self._nodes.add("Sigmoid", [x], f"{at}/Sigmoid")
        return self._nodes.add("Mul", [x, sigmoid], f"{at}/Mul")

    def _first_norm(self, at: str, hidden: str, weight: str) -> str:
        return self._nodes.add(
            "SimplifiedLayerNormalization",
            [hidden, weight],
            f"{at}/LayerNorm",
            axis=-1,
            epsilon=self._shape.norm_epsilon,
            stash_type=1,
        )

    def _skip_norm(
        self, at: str, residual: str, hidden: str, weight: str, last: bool = False
    ) -> tuple[str, ...]:
        """(RMS norm of the sum, the sum); only the former after the last layer."""
        normed, total = f"{at}/output_0", f"{at}/output_3"
        self._nodes.add_many(
            "SkipSimplifiedLayerNormalization",
            [residual, hidden, weight],
            [normed] if last else [normed, "", "", total],
            f"{at}/SkipLayerNorm",
            domain=MICROSOFT,
            epsilon=self._shape.norm_epsilon,
        )
        return (normed,) if last else (normed, total)

    def _embedding(self) -> str:
        """Looks the tokens up. A tied embedding is stored once, for here and for the head, unless
        the head is an integer product."""
        tied = self._weights.tied and self._precision is not Precision.W8A8
        name = "lm_head" if tied else "model.embed_tokens"
        matrix, at = self._weights.embedding(), "/model/embed_tokens"
        if self._precision is Precision.FP32:
            if not tied:
                table = self._stored.float_matrix(f"{name}.weight", matrix, transposed=False)
            else:
                stored = self._stored.float_matrix(f"{name}.MatMul.weight", matrix, transposed=True)
                table = self._nodes.add("Transpose", [stored], f"{at}/Transpose", perm=[1, 0])
            return self._nodes.add("Gather", [table, "input_ids"], f"{at}/Gather")
        table, scales = self._stored.quantized_matrix(
            f"{name}.MatMul.weight", matrix, flat=not tied
        )
        if tied:
            rows, columns = matrix.shape
            flat = (rows, columns * self._precision.bits // 8)
            table = self._stored.view(table, "model.embed_tokens.weight", flat)
        return self._nodes.add(
            "GatherBlockQuantized",
            [table, "input_ids", scales],
            f"{at}/GatherBlockQuantized",
            domain=MICROSOFT,
            bits=self._precision.bits,
            block_size=block_size(matrix.shape[1], self._precision),
            gather_axis=0,
            quantize_axis=1,
        )

    def _head(self, hidden: str) -> None:
        if not self._weights.tied:
            self._projections.add(hidden, self._weights.head(), "/lm_head", "logits")
            return
        turn = self._weights.head_turn()
        if turn is not None:
            stored = self._stored.table("lm_head.turn", turn)
            hidden = self._nodes.add("MatMul", [hidden, stored], "/lm_head/turn/MatMul")
        if self._precision is Precision.W8A8:
            self._projections.add(hidden, self._weights.embedding(), "/lm_head", "logits")
            return
        shape = (self._shape.vocabulary, self._shape.hidden)
        self._projections.add_stored(hidden, "lm_head.MatMul.weight", shape, "/lm_head", "logits")


def _value(name: str, kind: int, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
