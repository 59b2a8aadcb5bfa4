"""The products with weight matrices in a decoder's graph, in each precision.

W8A8 is one integer product for all tokens of a run. Activations are divided by a scale and rounded
to unsigned bytes around 128, which is the kind that ONNX Runtime's VNNI and AMX kernels take:
signed ones are ten times slower. Without these instructions the sums of two products saturate at
16 bits; INT8 is the variant for such CPUs.

A norm gives all tokens the same length, and in a turned residual stream no channel is louder than
the others: so what reads it can do with one scale, the largest magnitude seen / 127. Elsewhere each
token has a scale of its own.
"""

from __future__ import annotations

import numpy as np

from cupola.cache.architecture import Matrix
from cupola.cache.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.initializers import Initializers
from cupola.cache.precision import Precision
from cupola.cache.quantize import block_size

_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level of the fast kernels


class Projections:
    """Adds ``x [..., K]`` times transposed ``[N, K]`` weights to a graph."""

    def __init__(self, nodes: GraphNodes, initializers: Initializers) -> None:
        self._nodes = nodes
        self._stored = initializers
        self._precision = initializers.precision
        self._rounded: dict[str, tuple[str, str]] = {}  # by what was rounded
        if self._precision is Precision.W8A8:
            self._constants()

    def add(self, x: str, matrix: Matrix, at: str, output: str | None = None) -> str:
        """In the precision of the model."""
        if self._precision is not Precision.W8A8:
            return self.add_in_blocks(x, matrix, at, output)
        codes, scales = self._stored.channel_matrix(_weight(at), matrix)
        if matrix.turned_inputs and matrix.inputs is not None:
            rounded, scale = self._round_alike(x, float(np.abs(matrix.inputs).max()))
            return self._integer_product([rounded, codes, scale, scales], at, output)
        rounded, token_scales = self._round(x)
        product = self._integer_product([rounded, codes, _ONE, scales], at)
        return self._nodes.add("Mul", [product, token_scales], f"{at}/Mul", output)

    def add_in_blocks(self, x: str, matrix: Matrix, at: str, output: str | None = None) -> str:
        """The same where a scale for each channel would be too coarse."""
        if self._precision is Precision.FP32:
            stored = self._stored.float_matrix(_weight(at), matrix, transposed=True)
            return self._nodes.add("MatMul", [x, stored], f"{at}/MatMul", output)
        self._stored.quantized_matrix(_weight(at), matrix)
        return self.add_stored(x, _weight(at), matrix.shape, at, output)

    def add_stored(
        self, x: str, weight: str, shape: tuple[int, int], at: str, output: str | None
    ) -> str:
        """With an initializer that another node has already."""
        if self._precision is Precision.FP32:
            return self._nodes.add("MatMul", [x, weight], f"{at}/MatMul", output)
        bits = self._precision.bits
        return self._nodes.add(
            "MatMulNBits",
            [x, f"{weight}_Q{bits}", f"{weight}_scales"],
            f"{at}/MatMul_Q{bits}",
            output,
            domain=MICROSOFT,
            N=shape[0],
            K=shape[1],
            bits=bits,
            block_size=block_size(shape[1], self._precision),
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def _integer_product(self, inputs: list[str], at: str, output: str | None = None) -> str:
        at = f"{at}/MatMulIntegerToFloat"
        return self._nodes.add(
            "MatMulIntegerToFloat", [*inputs, _MIDDLE], at, output, domain=MICROSOFT
        )

    def _constants(self) -> None:
        self._stored.constant(_ONE, np.array(1, np.float32))
        self._stored.constant(_STEP, np.array(1 / 127, np.float32))
        self._stored.constant(_MIDDLE, np.array(128, np.uint8))
        self._stored.constant(_LAST_AXIS, np.array([-1], np.int64))

    def _round_alike(self, x: str, peak: float) -> tuple[str, str]:
        """(bytes ``[..., K]``, the scale of all tokens), once for each ``x``."""
        if x not in self._rounded:
            at = f"{x}/round"
            scale = self._stored.constant(f"{at}/scale", np.array(peak / 127, np.float32))
            rounded = self._nodes.add("QuantizeLinear", [x, scale, _MIDDLE], f"{at}/QuantizeLinear")
            self._rounded[x] = rounded, scale
        return self._rounded[x]

    def _round(self, x: str) -> tuple[str, str]:
        """(bytes ``[..., K]``, the tokens' scales ``[..., 1]``), once for each ``x``.

        A token of zeros has the scale 0: whatever its bytes become, the product is 0.
        """
        if x in self._rounded:
            return self._rounded[x]
        at = f"{x}/round"
        magnitudes = self._nodes.add("Abs", [x], f"{at}/Abs")
        peaks = self._nodes.add("ReduceMax", [magnitudes, _LAST_AXIS], f"{at}/ReduceMax")
        scales = self._nodes.add("Mul", [peaks, _STEP], f"{at}/Mul")
        steps = self._nodes.add("Div", [x, scales], f"{at}/Div")
        rounded = self._nodes.add("QuantizeLinear", [steps, _ONE, _MIDDLE], f"{at}/QuantizeLinear")
        self._rounded[x] = rounded, scales
        return rounded, scales


_ONE = "w8a8.one"
_STEP = "w8a8.step"
_MIDDLE = "w8a8.middle"
_LAST_AXIS = "w8a8.last_axis"


def _weight(at: str) -> str:
    return f"{at.lstrip('/').replace('/', '.')}.MatMul.weight"
