"""The nodes and initializers that encoder graphs are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from cupola.cache.convert.formats.weights_file import WeightsFile
from cupola.cache.convert.weights.encoder_shape import (
    BERT,
    EncoderShape,
    EncoderTraits,
    EncoderWeights,
)

Values = npt.NDArray[np.float32]


class EncoderNodes:
    """Collects the nodes. The weights go straight to the data file.

    ``advance`` is called with the number of bytes that were written since the last call.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        shape: EncoderShape,
        data: WeightsFile,
        advance: Callable[[int], None],
        traits: EncoderTraits = BERT,
    ) -> None:
        self.traits = traits
        self.weights = weights
        self.shape = shape
        self.data = data
        self.advance = advance
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        # Checkpoints of a whole model call the encoder's tensors "bert." or "roberta.".
        name = "embeddings.word_embeddings.weight"
        self.prefix = next((p for p in ("", "bert.", "roberta.") if p + name in weights), "")

    def skip_norm(self, inputs: list[str], at: str) -> str:
        return self.node(
            "SkipLayerNormalization",
            inputs,
            f"{at}.hidden",
            domain="com.microsoft",
            epsilon=self.shape.layer_norm_eps,
        )

    def normalised(self, value: str, norm: str, output: str) -> str:
        inputs = [value, *self.norm(norm)]
        return self.node("LayerNormalization", inputs, output, epsilon=self.shape.layer_norm_eps)

    def matmul(self, value: str, name: str, weight: Values) -> str:
        """``weight``: ``[N, K]``, as in torch."""
        return self.node("MatMul", [value, self.put(f"{name}.weight", weight.T)], f"{name}.out")

    def biased(self, value: str, name: str, bias: Values | None) -> str:
        if bias is None:
            return value
        return self.node("Add", [value, self.put(f"{name}.bias", bias)], f"{name}.biased")

    def norm(self, at: str) -> tuple[str, str]:
        width = self.shape.hidden_size
        scale, shift = (self.read(f"{at}.{part}", width) for part in ("weight", "bias"))
        return self.put(f"{at}.weight", scale), self.put(f"{at}.bias", shift)

    def read(self, name: str, *shape: int) -> Values:
        return self.weights.tensor(self.prefix + name, shape)

    def optional(self, name: str, *shape: int) -> Values | None:
        """A tensor that BERT has, and that some families lack."""
        if self.traits.all_biases or self.prefix + name in self.weights:
            return self.read(name, *shape)
        return None

    def put(self, name: str, value: Values) -> str:
        self.initializers.append(self.data.write(name, np.float32, value.shape, [value]))
        self.advance(value.nbytes)
        return name

    def constant(self, name: str, value: npt.NDArray[np.int64]) -> None:
        self.initializers.append(numpy_helper.from_array(value, name))

    def scalars(self, *names: str) -> None:
        """0, 1, ... without dimensions."""
        for number, name in enumerate(names):
            self.constant(name, np.array(number, np.int64))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output
