"""What the encoder's and the decoder's graphs of a Whisper model have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from cupola.cache.convert.formats.weights_file import WeightsFile
from cupola.cache.convert.graph.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.convert.quantization.quantize import BLOCK, quantize_channels, quantize_rows
from cupola.cache.convert.whisper.whisper_weights import Values, WhisperWeights
from cupola.cache.errors import UnsupportedError

EPSILON = 1e-5  # of every norm
_OPSETS = (("", 18), ("com.microsoft", 1))
_TINY = 1e-12  # of a row of zeros
_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level of the fast kernels


class WhisperLayers:
    """Collects the nodes of one graph. The weights go straight to its data file.

    ``advance`` is called with the number of bytes that were written since the last call.
    ``rounded``: products have weights of 8 bits.
    """

    def __init__(
        self,
        weights: WhisperWeights,
        data: WeightsFile,
        advance: Callable[[int], None],
        *,
        rounded: bool,
    ) -> None:
        self.weights = weights
        self.shape = weights.shape
        self._data = data
        self._advance = advance
        self._rounded = rounded
        self._nodes = GraphNodes()
        self._initializers: list[onnx.TensorProto] = []

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self._nodes.nodes, name, inputs, outputs, self._initializers)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def node(
        self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any
    ) -> str:
        return self._nodes.add(kind, inputs, output, output, domain=domain, **attributes)

    def nodes(
        self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> None:
        name = next(filter(None, outputs))
        self._nodes.add_many(kind, inputs, outputs, name, domain=domain, **attributes)

    def table(self, name: str, value: Values) -> str:
        """Stores floats in the data file. Returns their name."""
        self._initializers.append(self._data.write(name, np.float32, value.shape, [value]))
        self._advance(value.nbytes)
        return name

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self._initializers.append(numpy_helper.from_array(value, name))
        return name

    def bare_product(self, x: str, name: str, weight: Values) -> str:
        """``x`` times the transposed ``weight`` ``[N, K]``."""
        if not self._rounded:
            return self.node("MatMul", [x, self.table(f"{name}.weight", weight.T)], f"{name}.out")
        rows, columns = weight.shape
        if columns % BLOCK:
            raise UnsupportedError(f"{name} has rows of {columns} values, no multiple of {BLOCK}")
        codes, scales = quantize_rows(weight)
        self._initializers += [
            self._data.write(f"{name}.codes", np.uint8, codes.shape, [codes]),
            self._data.write(f"{name}.scales", np.float32, scales.shape, [scales]),
        ]
        self._advance(codes.nbytes)
        return self.node(
            "MatMulNBits",
            [x, f"{name}.codes", f"{name}.scales"],
            f"{name}.out",
            MICROSOFT,
            N=rows,
            K=columns,
            bits=8,
            block_size=BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def head(self, x: str, weight: Values) -> str:
        """``x`` ``[R, K]`` times the transposed ``weight``, with one integer product for all rows.

        The blocks of other products take twice the time for four rows. Each row is divided by its
        largest magnitude first, so no row changes another's result.
        """
        if not self._rounded:
            return self.bare_product(x, "head", weight)
        last = self.constant("head.last", np.array([-1], np.int64))
        peak = self.node("ReduceMax", [self.node("Abs", [x], "head.abs"), last], "head.peak")
        tiny = self.constant("head.tiny", np.array(_TINY, np.float32))
        length = self.node("Max", [peak, tiny], "head.length")
        scaled = self.node("Div", [x, length], "head.scaled")
        step = self.constant("head.step", np.array(1 / 127, np.float32))
        middle = self.constant("head.middle", np.array(128, np.uint8))
        rounded = self.node("QuantizeLinear", [scaled, step, middle], "head.rounded")
        product = self._integer_product(rounded, step, middle, "head", weight)
        return self.node("Mul", [product, length], "head.out")

    def _integer_product(
        self, rounded: str, step: str, middle: str, name: str, weight: Values
    ) -> str:
        codes, scales = quantize_channels(weight)
        # Unsigned, because processors without VNNI are exact for these only.
        stored = (codes.T.astype(np.int16) + 128).astype(np.uint8)
        self._initializers += [
            self._data.write(f"{name}.codes", np.uint8, stored.shape, [stored]),
            self._data.write(f"{name}.scales", np.float32, scales.shape, [scales]),
        ]
        self._advance(codes.nbytes)
        zero = self.constant(f"{name}.zero", np.array(128, np.uint8))
        inputs = [rounded, f"{name}.codes", step, f"{name}.scales", middle, zero]
        return self.node("MatMulIntegerToFloat", inputs, f"{name}.product", MICROSOFT)

    def product(self, x: str, layer: str, part: str) -> str:
        """With its bias."""
        weight, bias = self.weights.product(layer, part)
        name = f"{layer}.{part}"
        shift = self.table(f"{name}.bias", bias)
        return self.node("Add", [self.bare_product(x, name, weight), shift], f"{name}.biased")

    def first_norm(self, x: str, layer: str) -> str:
        """``x``, normalised for the first layer."""
        scale, shift = self._norm(layer, "norm")
        return self.node("LayerNormalization", [x, scale, shift], f"{layer}.in", epsilon=EPSILON)

    def joined(
        self, x: str, stream: str, layer: str, part: str, norm: tuple[str, str]
    ) -> tuple[str, str]:
        """Adds the product ``part`` of ``x`` to the stream.

        Returns the stream, and the stream normalised by ``norm`` (its layer and part).
        """
        weight, bias = self.weights.product(layer, part)
        name = f"{layer}.{part}"
        out = self.bare_product(x, name, weight)
        scale, shift = self._norm(*norm)
        inputs = [out, stream, scale, shift, self.table(f"{name}.bias", bias)]
        outputs = [f"{name}.normed", "", "", f"{name}.stream"]
        self.nodes("SkipLayerNormalization", inputs, outputs, MICROSOFT, epsilon=EPSILON)
        return outputs[3], outputs[0]

    def mlp(self, x: str, stream: str, layer: str, norm: tuple[str, str]) -> tuple[str, str]:
        """As ``joined``."""
        weight, bias = self.weights.product(layer, "fc1")
        grown = self.bare_product(x, f"{layer}.fc1", weight)
        shift = self.table(f"{layer}.fc1.bias", bias)
        active = self.node("BiasGelu", [grown, shift], f"{layer}.active", MICROSOFT)
        return self.joined(active, stream, layer, "fc2", norm)

    def split(self, x: str, names: list[str]) -> list[str]:
        """Equal parts of the last axis."""
        self.nodes("Split", [x], names, axis=-1, num_outputs=len(names))
        return names

    def _norm(self, layer: str, part: str) -> tuple[str, str]:
        name = f"{layer}.{part}" if part else f"{layer}.norm"
        scale, shift = self.weights.norm(layer, part)
        return self.table(f"{name}.scale", scale), self.table(f"{name}.shift", shift)
