"""Builds the ONNX graph of a decoder: the one that onnxruntime-genai's model builder makes.

Inputs ``input_ids [batch, sequence]``, ``attention_mask [batch, total]`` and each layer's
``past_key_values.N.key|value [batch, kv_heads, past, head_size]``; outputs ``logits [batch,
sequence, vocabulary]`` and ``present.N.key|value``. Weights go to the data file as they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from cupola.cache.architecture import DecoderWeights, Matrix
from cupola.cache.initializers import Initializers
from cupola.cache.quantize import BLOCK, Precision

_MICROSOFT = "com.microsoft"
_OPSET = 21
_IR_VERSION = 10
_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level of the fast kernels


class DecoderGraph:
    """One decoder being built."""

    def __init__(self, weights: DecoderWeights, initializers: Initializers) -> None:
        self._weights = weights
        self._shape = weights.shape
        self._stored = initializers
        self._precision = initializers.precision
        self._nodes: list[onnx.NodeProto] = []
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
            self._nodes, "main_graph", self._inputs, self._outputs, self._stored.tensors
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="cupola"
        )

    def _lengths(self) -> None:
        """What GroupQueryAttention wants to know, from the attention mask."""
        at = "/model/attn_mask_reformat"
        one = self._stored.constant(f"{at}/one", np.array([1], np.int64))
        index = self._stored.constant(f"{at}/index", np.array(1, np.int64))
        total = self._node("ReduceSum", ["attention_mask", one], f"{at}/ReduceSum", keepdims=0)
        past = self._node("Sub", [total, one], f"{at}/Sub")
        self._seqlens_k = self._node("Cast", [past], f"{at}/Sub/Cast", to=TensorProto.INT32)
        mask_shape = self._node("Shape", ["attention_mask"], f"{at}/Shape")
        length = self._node("Gather", [mask_shape, index], f"{at}/Gather", axis=0)
        self._total = self._node("Cast", [length], f"{at}/Gather/Cast", to=TensorProto.INT32)

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
        qkv = self._linear(normed, weights.qkv(layer), f"{at}/attn/qkv_proj")
        bias = weights.qkv_bias(layer)
        if bias is not None:
            stored = self._stored.constant(f"{name}.attn.qkv_proj.Add.bias", bias)
            qkv = self._node("Add", [qkv, stored], f"{at}/attn/qkv_proj/Add")
        attention = self._attention(layer, qkv)
        attended = self._linear(attention, weights.attention_output(layer), f"{at}/attn/o_proj")
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
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [qkv, "", "", *pasts, *lengths, self._cos, self._sin],
                [f"{at}/output_0", *presents],
                name=at,
                domain=_MICROSOFT,
                num_heads=shape.heads,
                kv_num_heads=shape.kv_heads,
                scale=shape.head_size**-0.5,
                do_rotary=1,
                rotary_interleaved=0,
            )
        )
        return f"{at}/output_0"

    def _cache(self, name: str, length: str) -> onnx.ValueInfoProto:
        sizes = (self._shape.kv_heads, self._shape.head_size)
        return _value(name, TensorProto.FLOAT, ["batch_size", sizes[0], length, sizes[1]])

    def _mlp(self, layer: int, normed: str) -> str:
        weights, at = self._weights, f"/model/layers.{layer}/mlp"
        gate = self._linear(normed, weights.gate(layer), f"{at}/gate_proj")
        up = self._linear(normed, weights.up(layer), f"{at}/up_proj")
        sigmoid = self._node("Sigmoid", [gate], f"{at}/act_fn/Sigmoid")
        silu = self._node("Mul", [gate, sigmoid], f"{at}/act_fn/Mul")
        product = self._node("Mul", [silu, up], f"{at}/Mul")
        return self._linear(product, weights.down(layer), f"{at}/down_proj")

    def _first_norm(self, at: str, hidden: str, weight: str) -> str:
        return self._node(
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
        self._nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [residual, hidden, weight],
                [normed] if last else [normed, "", "", total],
                name=f"{at}/SkipLayerNorm",
                domain=_MICROSOFT,
                epsilon=self._shape.norm_epsilon,
            )
        )
        return (normed,) if last else (normed, total)

    def _embedding(self) -> str:
        """Looks the tokens up. A tied embedding is stored once, for here and for the head."""
        tied = self._weights.tied
        name = "lm_head" if tied else "model.embed_tokens"
        matrix, at = self._weights.embedding(), "/model/embed_tokens"
        if self._precision is Precision.FP32:
            if not tied:
                table = self._stored.float_matrix(f"{name}.weight", matrix, transposed=False)
            else:
                stored = self._stored.float_matrix(f"{name}.MatMul.weight", matrix, transposed=True)
                table = self._node("Transpose", [stored], f"{at}/Transpose", perm=[1, 0])
            return self._node("Gather", [table, "input_ids"], f"{at}/Gather")
        table, scales = self._stored.quantized_matrix(
            f"{name}.MatMul.weight", matrix, flat=not tied
        )
        if tied:
            rows, columns = matrix.shape
            flat = (rows, columns * self._precision.bits // 8)
            table = self._stored.view(table, "model.embed_tokens.weight", flat)
        return self._node(
            "GatherBlockQuantized",
            [table, "input_ids", scales],
            f"{at}/GatherBlockQuantized",
            domain=_MICROSOFT,
            bits=self._precision.bits,
            block_size=BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )

    def _head(self, hidden: str) -> None:
        if not self._weights.tied:
            self._linear(hidden, self._weights.head(), "/lm_head", "logits")
            return
        weight = "lm_head.MatMul.weight"
        shape = (self._shape.vocabulary, self._shape.hidden)
        if self._precision is Precision.FP32:
            self._node("MatMul", [hidden, weight], "/lm_head/MatMul", "logits")
        else:
            self._matmul_n_bits(hidden, weight, shape, "/lm_head", "logits")

    def _linear(self, x: str, matrix: Matrix, at: str, output: str | None = None) -> str:
        """``x [..., K]`` times the transposed ``[N, K]`` weights."""
        weight = f"{at.lstrip('/').replace('/', '.')}.MatMul.weight"
        if self._precision is Precision.FP32:
            stored = self._stored.float_matrix(weight, matrix, transposed=True)
            return self._node("MatMul", [x, stored], f"{at}/MatMul", output)
        self._stored.quantized_matrix(weight, matrix)
        return self._matmul_n_bits(x, weight, matrix.shape, at, output)

    def _matmul_n_bits(
        self, x: str, weight: str, shape: tuple[int, int], at: str, output: str | None
    ) -> str:
        bits = self._precision.bits
        return self._node(
            "MatMulNBits",
            [x, f"{weight}_Q{bits}", f"{weight}_scales"],
            f"{at}/MatMul_Q{bits}",
            output,
            domain=_MICROSOFT,
            N=shape[0],
            K=shape[1],
            bits=bits,
            block_size=BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def _node(
        self,
        operator: str,
        inputs: list[str],
        name: str,
        output: str | None = None,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Adds a node of one output and returns its name."""
        output = output or f"{name}/output_0"
        self._nodes.append(
            helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes)
        )
        return output


def _value(name: str, kind: int, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
