"""An encoder as an ONNX graph: token ids and a mask in, the last hidden states out.

A model that ranks reads pairs of texts, and gives one number for each pair: its score.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from cupola.cache.convert.graph.encoder_nodes import EncoderNodes
from cupola.cache.convert.weights.encoder_shape import Positions

_OPSETS = (("", 18), ("com.microsoft", 1))
Values = npt.NDArray[np.float32]


class EncoderGraph(EncoderNodes):
    """An encoder, layer by layer."""

    def build(self) -> onnx.ModelProto:
        """Writes the whole model. Raises BrokenFileError, UnsupportedError, OSError."""
        if self.traits.positions is not Positions.ALIBI:
            self.constant("zero", np.array([0], np.int64))
        if self.traits.positions is not Positions.ROTARY:
            self.constant("one", np.array([1], np.int64))
        hidden = self._embeddings()
        mask = self.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
        match self.traits.positions:
            case Positions.ROTARY:
                self._write_angles()
            case Positions.ALIBI:
                self._write_distances()
        for layer in range(self.shape.num_hidden_layers):
            hidden = self._layer(layer, hidden, mask)
        ranks, width = self.shape.ranks, self.shape.hidden_size
        self.node("Identity", [self._score(hidden) if ranks else hidden], _output(ranks))
        names = ["input_ids", "attention_mask"]
        if self.shape.tells_texts_apart:
            names.append("token_type_ids")
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in names
        ]
        size: list[str | int | None] = ["batch", 1] if ranks else ["batch", "tokens", width]
        out = helper.make_tensor_value_info(_output(ranks), TensorProto.FLOAT, size)
        graph = helper.make_graph(self.nodes, "encoder", ids, [out], self.initializers)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _embeddings(self) -> str:
        """The sum of what a token's number, its place and its text say, normalised."""
        shape, width = self.shape, self.shape.hidden_size
        words = self.read("embeddings.word_embeddings.weight", shape.vocab_size, width)
        types = np.zeros((1, width), np.float32)
        name = "embeddings.token_type_embeddings.weight"
        if self.traits.all_biases or self.prefix + name in self.weights:
            types = self.read(name, shape.type_vocab_size, width)
        pairs = shape.tells_texts_apart
        # Where tokens of both kinds do not meet, every token is of type 0.
        added = np.zeros(width, np.float32) if pairs else types[0]
        learned = self.traits.positions is Positions.LEARNED
        self.put("words", words if learned else words + added)
        summed = self.node("Gather", ["words", "input_ids"], "word")
        size = self.node("Shape", ["input_ids"], "size", start=1, end=2)
        if learned:
            rows = shape.max_position_embeddings
            places = self.read("embeddings.position_embeddings.weight", rows, width)
            self.put("places", places[self.traits.first_position :] + added)
            here = self.node("Slice", ["places", "zero", size, "zero", "one"], "here")
            summed = self.node("Add", [summed, here], "embedded")
        if pairs:
            self.put("types", types)
            kind = self.node("Gather", ["types", "token_type_ids"], "kind")
            summed = self.node("Add", [summed, kind], "embedded.typed")
        return self.normalised(summed, "embeddings.LayerNorm", "hidden")

    def _layer(self, layer: int, hidden: str, mask: str) -> str:
        at, width = f"encoder.layer.{layer}", self.shape.hidden_size
        attended = self._attended(at, hidden, mask)
        joined = self._joined(attended, hidden, f"{at}.attention.output", width)
        again = f"{at}.attention.again"
        if self.prefix + f"{again}.weight" in self.weights:
            joined = self.skip_norm([joined, hidden, *self.norm(again)], again)
        inner = self.shape.intermediate_size
        grown = self._gated if self.traits.gate else self._grown
        return self._joined(grown(at, joined), joined, f"{at}.output", inner)

    def _attended(self, at: str, hidden: str, mask: str) -> str:
        width = self.shape.hidden_size
        qkv = self.matmul(hidden, f"{at}.qkv", self._qkv(at))
        qkv = self.biased(qkv, f"{at}.qkv", self._qkv_bias(at))
        parts = [f"{at}.{part}" for part in ("q", "k", "v")]
        self.nodes.append(helper.make_node("Split", [qkv], parts, axis=2, num_outputs=3))
        for index, part in enumerate(("query", "key")):
            norm = f"{at}.attention.self.{part}_norm"
            if self.prefix + f"{norm}.weight" in self.weights:
                parts[index] = self.normalised(parts[index], norm, f"{parts[index]}.normed")
            if self.traits.positions is Positions.ROTARY:
                parts[index] = self.node(
                    "RotaryEmbedding",
                    [parts[index], "zero", "cosines", "sines"],
                    f"{parts[index]}.rotated",
                    domain="com.microsoft",
                    num_heads=self.shape.num_attention_heads,
                    rotary_embedding_dim=width // self.shape.num_attention_heads,
                )
        far = ["distances"] if self.traits.positions is Positions.ALIBI else []
        return self.node(
            "MultiHeadAttention",
            [*parts, "", mask, *far],
            f"{at}.attended",
            domain="com.microsoft",
            num_heads=self.shape.num_attention_heads,
        )

    def _grown(self, at: str, hidden: str) -> str:
        inner, width = self.shape.intermediate_size, self.shape.hidden_size
        name = f"{at}.intermediate.dense"
        grown = self.matmul(hidden, name, self.read(f"{name}.weight", inner, width))
        bias = self.put(f"{name}.bias", self.read(f"{name}.bias", inner))
        return self.node("BiasGelu", [grown, bias], f"{at}.active", domain="com.microsoft")

    def _gated(self, at: str, hidden: str) -> str:
        """The gate is a tensor of its own, or it is in front of the other one's rows."""
        inner, width = self.shape.intermediate_size, self.shape.hidden_size
        name, gate = f"{at}.intermediate.dense", f"{at}.intermediate.gate"
        if f"{gate}.weight" in self.weights:
            weight = self.read(f"{name}.weight", inner, width)
            weight = np.concatenate([self.read(f"{gate}.weight", inner, width), weight])
        else:
            weight = self.read(f"{name}.weight", 2 * inner, width)
        bias = self.optional(f"{name}.bias", len(weight) - inner)
        if bias is not None and f"{gate}.weight" in self.weights:
            bias = np.concatenate([np.zeros(inner, np.float32), bias])
        grown = self.biased(self.matmul(hidden, name, weight), name, bias)
        halves = [f"{at}.gate", f"{at}.up"]
        self.nodes.append(helper.make_node("Split", [grown], halves, axis=2, num_outputs=2))
        if self.traits.gate == "Gelu":
            active = self.node("Gelu", halves[:1], f"{at}.open", domain="com.microsoft")
        else:
            share = self.node("Sigmoid", halves[:1], f"{at}.share")
            active = self.node("Mul", [halves[0], share], f"{at}.open")
        return self.node("Mul", [active, halves[1]], f"{at}.active")

    def _write_angles(self) -> None:
        half = self.shape.hidden_size // self.shape.num_attention_heads // 2
        speeds = self.traits.rope_base ** (-np.arange(half) / half)
        angles = np.arange(self.shape.context)[:, None] * speeds
        self.put("cosines", np.cos(angles).astype(np.float32))
        self.put("sines", np.sin(angles).astype(np.float32))

    def _write_distances(self) -> None:
        """What is added to the attention between two places, ``[1, heads, tokens, tokens]``."""
        slopes = _slopes(self.shape.num_attention_heads)
        self.put("slopes", np.asarray(-slopes[None, :, None, None], np.float32))
        self.scalars("first", "step")
        size = self.node("Squeeze", ["size"], "length")
        places = self.node("Range", ["first", size, "step"], "positions")
        numbers = self.node("Cast", [places], "positions.float", to=TensorProto.FLOAT)
        column = self.node("Unsqueeze", [numbers, "one"], "positions.column")
        apart = self.node("Sub", [numbers, column], "apart")
        self.node("Mul", [self.node("Abs", [apart], "apart.far"), "slopes"], "distances")

    def _qkv(self, at: str) -> Values:
        width, at = self.shape.hidden_size, f"{at}.attention.self"
        if self.prefix + f"{at}.qkv.weight" in self.weights:
            return self.read(f"{at}.qkv.weight", 3 * width, width)
        names = (f"{at}.{part}.weight" for part in ("query", "key", "value"))
        return np.concatenate([self.read(name, width, width) for name in names])

    def _qkv_bias(self, at: str) -> Values | None:
        width, at = self.shape.hidden_size, f"{at}.attention.self"
        if self.prefix + f"{at}.qkv.bias" in self.weights:
            return self.read(f"{at}.qkv.bias", 3 * width)
        found = [self.optional(f"{at}.{part}.bias", width) for part in ("query", "key", "value")]
        if all(each is None for each in found):
            return None
        nothing = np.zeros(width, np.float32)
        return np.concatenate([nothing if each is None else each for each in found])

    def _joined(self, value: str, hidden: str, at: str, width: int) -> str:
        """Projects ``value`` to the hidden size, adds ``hidden`` and normalises the sum."""
        size = self.shape.hidden_size
        weight = self.read(f"{at}.dense.weight", size, width)
        projected = self.matmul(value, f"{at}.dense", weight)
        bias = self.optional(f"{at}.dense.bias", size)
        inputs = [projected, hidden, *self.norm(f"{at}.LayerNorm")]
        return self.skip_norm(
            inputs if bias is None else [*inputs, self.put(f"{at}.bias", bias)], at
        )

    def _score(self, hidden: str) -> str:
        """A pair's score: a dense layer over the first token, and the classifier behind it."""
        traits = self.traits
        self.scalars("start")
        first = self.node("Gather", [hidden, "start"], "pooler.first", axis=1)
        rows = self.shape.hidden_size if traits.classifier else 1
        dense = self._affine(first, traits.dense, rows)
        active = self.node("Tanh", [dense], "pooler.active")
        return self._affine(active, traits.classifier, 1) if traits.classifier else active

    def _affine(self, value: str, name: str, rows: int) -> str:
        prefix = "" if f"{name}.weight" in self.weights else self.prefix
        weight = self.weights.tensor(f"{prefix}{name}.weight", (rows, self.shape.hidden_size))
        inputs = [value, self.put(f"{name}.weight", weight)]
        if self.traits.all_biases or f"{prefix}{name}.bias" in self.weights:
            bias = self.weights.tensor(f"{prefix}{name}.bias", (rows,))
            inputs.append(self.put(f"{name}.bias", bias))
        return self.node("Gemm", inputs, f"{name}.out", transB=1)


def _slopes(heads: int) -> npt.NDArray[np.float64]:
    """How fast the attention of each head falls (Press and others, 2022)."""
    even = 1 << (heads.bit_length() - 1)
    first = 2.0 ** (-8 * np.arange(1, even + 1) / even)
    rest = 2.0 ** (-4 * np.arange(1, 2 * (heads - even) + 1, 2) / even)
    return np.concatenate([first, rest])


def _output(ranks: bool) -> str:
    return "logits" if ranks else "last_hidden_state"
