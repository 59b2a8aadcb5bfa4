"""A BERT encoder as an ONNX graph: token ids and a mask in, the last hidden states out.

A model that ranks reads pairs of texts, and gives one number for each pair: its score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from cupola.cache.convert.formats.weights_file import WeightsFile
from cupola.cache.convert.weights.encoder_shape import EncoderShape, EncoderWeights

_OPSETS = (("", 18), ("com.microsoft", 1))
Values = npt.NDArray[np.float32]


class EncoderGraph:
    """Collects the nodes. The weights go straight to the data file.

    ``advance`` is called with the number of bytes that were written since the last call.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        shape: EncoderShape,
        data: WeightsFile,
        advance: Callable[[int], None],
    ) -> None:
        self._weights = weights
        self._shape = shape
        self._data = data
        self._advance = advance
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        # Checkpoints of a whole model call the encoder's tensors "bert.".
        self._prefix = "" if "embeddings.word_embeddings.weight" in weights else "bert."

    def build(self) -> onnx.ModelProto:
        """Writes the whole model. Raises BrokenFileError, UnsupportedError, OSError."""
        self._shape.check()
        hidden = self._embeddings()
        mask = self._node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
        for layer in range(self._shape.num_hidden_layers):
            hidden = self._layer(layer, hidden, mask)
        ranks, width = self._shape.ranks, self._shape.hidden_size
        self._node("Identity", [self._score(hidden) if ranks else hidden], _output(ranks))
        names = ("input_ids", "attention_mask", *(["token_type_ids"] if ranks else []))
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in names
        ]
        size: list[str | int | None] = ["batch", 1] if ranks else ["batch", "tokens", width]
        out = helper.make_tensor_value_info(_output(ranks), TensorProto.FLOAT, size)
        graph = helper.make_graph(self._nodes, "encoder", ids, [out], self._initializers)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _embeddings(self) -> str:
        shape, width = self._shape, self._shape.hidden_size
        words = self._read("embeddings.word_embeddings.weight", shape.vocab_size, width)
        places = self._read(
            "embeddings.position_embeddings.weight", shape.max_position_embeddings, width
        )
        types = self._read("embeddings.token_type_embeddings.weight", shape.type_vocab_size, width)
        self._put("words", words)
        pairs = shape.ranks
        # Where there is one text at a time, every token is of type 0.
        self._put("places", places if pairs else places + types[0])
        self._constant("zero", np.array([0], np.int64))
        self._constant("one", np.array([1], np.int64))
        size = self._node("Shape", ["input_ids"], "size", start=1, end=2)
        here = self._node("Slice", ["places", "zero", size, "zero", "one"], "here")
        word = self._node("Gather", ["words", "input_ids"], "word")
        summed = self._node("Add", [word, here], "embedded")
        if pairs:
            self._put("types", types)
            kind = self._node("Gather", ["types", "token_type_ids"], "kind")
            summed = self._node("Add", [summed, kind], "embedded.typed")
        scale, shift = self._norm("embeddings.LayerNorm")
        return self._node(
            "LayerNormalization", [summed, scale, shift], "hidden", epsilon=shape.layer_norm_eps
        )

    def _layer(self, layer: int, hidden: str, mask: str) -> str:
        at, width = f"encoder.layer.{layer}", self._shape.hidden_size
        inner = self._shape.intermediate_size
        qkv = self._node(
            "Add",
            [self._matmul(hidden, f"{at}.qkv", self._qkv(at)), self._qkv_bias(at)],
            f"{at}.qkv.biased",
        )
        parts = [f"{at}.{part}" for part in ("q", "k", "v")]
        self._nodes.append(helper.make_node("Split", [qkv], parts, axis=2, num_outputs=3))
        attended = self._node(
            "MultiHeadAttention",
            [*parts, "", mask],
            f"{at}.attended",
            domain="com.microsoft",
            num_heads=self._shape.num_attention_heads,
        )
        hidden = self._joined(attended, hidden, f"{at}.attention.output", width)
        name = f"{at}.intermediate.dense"
        weight = self._read(f"{name}.weight", inner, width)
        grown = self._matmul(hidden, name, weight)
        bias = self._put(f"{name}.bias", self._read(f"{name}.bias", inner))
        active = self._node("BiasGelu", [grown, bias], f"{at}.active", domain="com.microsoft")
        return self._joined(active, hidden, f"{at}.output", inner)

    def _qkv(self, at: str) -> Values:
        width = self._shape.hidden_size
        names = (f"{at}.attention.self.{part}.weight" for part in ("query", "key", "value"))
        return np.concatenate([self._read(name, width, width) for name in names])

    def _qkv_bias(self, at: str) -> str:
        width = self._shape.hidden_size
        names = (f"{at}.attention.self.{part}.bias" for part in ("query", "key", "value"))
        return self._put(f"{at}.qkv.bias", np.concatenate([self._read(n, width) for n in names]))

    def _joined(self, value: str, hidden: str, at: str, width: int) -> str:
        """Projects ``value`` to the hidden size, adds ``hidden`` and normalises the sum."""
        weight = self._read(f"{at}.dense.weight", self._shape.hidden_size, width)
        projected = self._matmul(value, f"{at}.dense", weight)
        bias = self._put(f"{at}.bias", self._read(f"{at}.dense.bias", self._shape.hidden_size))
        scale, shift = self._norm(f"{at}.LayerNorm")
        return self._node(
            "SkipLayerNormalization",
            [projected, hidden, scale, shift, bias],
            f"{at}.hidden",
            domain="com.microsoft",
            epsilon=self._shape.layer_norm_eps,
        )

    def _score(self, hidden: str) -> str:
        """A pair's score: a dense layer over the first token, and the classifier behind it."""
        width = self._shape.hidden_size
        self._initializers.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
        first = self._node("Gather", [hidden, "first"], "pooler.first", axis=1)
        pooled = self._affine(first, "pooler.dense", self._prefix, width)
        active = self._node("Tanh", [pooled], "pooler.active")
        return self._affine(active, "classifier", "", 1)

    def _affine(self, value: str, name: str, prefix: str, rows: int) -> str:
        weight = self._weights.tensor(f"{prefix}{name}.weight", (rows, self._shape.hidden_size))
        bias = self._weights.tensor(f"{prefix}{name}.bias", (rows,))
        inputs = [value, self._put(f"{name}.weight", weight), self._put(f"{name}.bias", bias)]
        return self._node("Gemm", inputs, f"{name}.out", transB=1)

    def _matmul(self, value: str, name: str, weight: Values) -> str:
        """``weight``: ``[N, K]``, as in torch."""
        return self._node("MatMul", [value, self._put(f"{name}.weight", weight.T)], f"{name}.out")

    def _norm(self, at: str) -> tuple[str, str]:
        width = self._shape.hidden_size
        scale, shift = (self._read(f"{at}.{part}", width) for part in ("weight", "bias"))
        return self._put(f"{at}.weight", scale), self._put(f"{at}.bias", shift)

    def _read(self, name: str, *shape: int) -> Values:
        return self._weights.tensor(self._prefix + name, shape)

    def _put(self, name: str, value: Values) -> str:
        self._initializers.append(self._data.write(name, np.float32, value.shape, [value]))
        self._advance(value.nbytes)
        return name

    def _constant(self, name: str, value: npt.NDArray[np.int64]) -> None:
        self._initializers.append(numpy_helper.from_array(value, name))

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def _output(ranks: bool) -> str:
    return "logits" if ranks else "last_hidden_state"
