"""The products with weight matrices in a decoder's graph, in each precision.

W8A8 is one integer product for all tokens of a run. Activations are divided by a scale and rounded
to unsigned bytes around 128, which is the kind that ONNX Runtime's VNNI and AMX kernels take:
signed ones are ten times slower. Without these instructions the sums of two products saturate at
16 bits; INT8 is the variant for such CPUs.

All channels that are read are turned, so that none is louder than the others. Then a norm, which
gives all tokens the same length, gives them the same scale, too: the largest magnitude seen / 127.
Elsewhere tokens are given one length first, by a norm whose second output says what it has
multiplied them by.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.architecture import Matrix
from cupola.cache.convert.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.convert.initializers import Initializers
from cupola.cache.convert.quantization.quantize import block_size
from cupola.cache.convert.quantization.rotation import turned
from cupola.cache.precision import Precision

_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level of the fast kernels
# A channel's magnitude, in lengths of its token, that 127 stands for: with what is louder cut off,
# one token in a hundred, all others are rounded more finely. Of a head nothing has been seen; what
# is turned as a whole is as even as noise, of which one number in 150,000 is louder.
_SHARE_IN_FULL = 0.99
_NOISE = 4.5


class Projections:
    """Adds ``x [..., K]`` times transposed ``[N, K]`` weights to a graph."""

    def __init__(self, nodes: GraphNodes, initializers: Initializers) -> None:
        self._nodes = nodes
        self._stored = initializers
        self._precision = initializers.precision
        self._rounded: dict[str, tuple[str, str]] = {}  # by what was rounded
        self._turns: dict[int, str] = {}  # by size
        if self._precision is Precision.W8A8:
            self._stored.constant(_MIDDLE, np.array(128, np.uint8))

    def add(
        self, x: str, matrix: Matrix, at: str, output: str | None = None, *, normed: bool = False
    ) -> str:
        """In the precision of the model. ``normed``: the tokens of ``x`` have one length."""
        if self._precision is Precision.FP32:
            stored = self._stored.float_matrix(_weight(at), matrix, transposed=True)
            return self._nodes.add("MatMul", [x, stored], f"{at}/MatMul", output)
        if self._precision is not Precision.W8A8:
            self._stored.quantized_matrix(_weight(at), matrix)
            return self.add_stored(x, _weight(at), matrix.shape, at, output)
        if normed and matrix.inputs is not None:
            rounded = self._round(x, float(np.abs(matrix.inputs).max()))
            return self._integer_product(rounded, matrix, at, output)
        x, inverse_lengths = self._norm(x, matrix.shape[1])
        product = self._integer_product(self._round(x, _peak(matrix.inputs)), matrix, at)
        return self._nodes.add("Div", [product, inverse_lengths], f"{at}/Div", output)

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

    def turn(self, x: str, width: int, size: int, at: str) -> str:
        """``x [batch, tokens, width]`` with each ``size`` channels turned."""
        if size not in self._turns:
            matrix = turned(np.eye(size, dtype=np.float32), size)
            self._turns[size] = self._stored.constant(f"turn.{size}", matrix)
        blocks, whole = (
            self._stored.constant(f"{at}/{columns}", np.array([0, -1, columns], np.int64))
            for columns in (size, width)
        )
        x = self._nodes.add("Reshape", [x, blocks], f"{at}/Reshape_1")
        x = self._nodes.add("MatMul", [x, self._turns[size]], f"{at}/MatMul")
        return self._nodes.add("Reshape", [x, whole], f"{at}/Reshape_2")

    def _integer_product(
        self, rounded: tuple[str, str], matrix: Matrix, at: str, output: str | None = None
    ) -> str:
        codes, scales = self._stored.channel_matrix(_weight(at), matrix)
        inputs = [rounded[0], codes, rounded[1], scales, _MIDDLE]
        at = f"{at}/MatMulIntegerToFloat"
        return self._nodes.add("MatMulIntegerToFloat", inputs, at, output, domain=MICROSOFT)

    def _round(self, x: str, peak: float) -> tuple[str, str]:
        """(bytes ``[..., K]``, the scale of all tokens), once for each ``x``."""
        if x not in self._rounded:
            at = f"{x}/round"
            scale = self._stored.constant(f"{at}/scale", np.array(peak / 127, np.float32))
            rounded = self._nodes.add("QuantizeLinear", [x, scale, _MIDDLE], f"{at}/QuantizeLinear")
            self._rounded[x] = rounded, scale
        return self._rounded[x]

    def _norm(self, x: str, width: int) -> tuple[str, str]:
        """(``x`` with tokens of the length 1, what they were multiplied by ``[..., 1]``)."""
        at = f"{x}/norm"
        ones = self._stored.constant(f"{at}/ones", np.ones(width, np.float32))
        normed, inverse_lengths = f"{at}/output_0", f"{at}/output_1"
        self._nodes.add_many(
            "SimplifiedLayerNormalization",
            [x, ones],
            [normed, inverse_lengths],
            f"{at}/LayerNorm",
            axis=-1,
            epsilon=_TINY,
            stash_type=1,
        )
        return normed, inverse_lengths


_MIDDLE = "w8a8.middle"
_TINY = 1e-12  # the mean square of a token of zeros, which stays one


def _peak(inputs: npt.NDArray[np.float32] | None) -> float:
    """What ``inputs [tokens, K]`` have at most, where the mean square of each token is 1."""
    if inputs is None:
        return _NOISE
    lengths = np.sqrt((inputs**2).mean(axis=-1) + _TINY)
    return float(np.quantile(np.abs(inputs).max(axis=-1) / lengths, _SHARE_IN_FULL))


def _weight(at: str) -> str:
    return f"{at.lstrip('/').replace('/', '.')}.MatMul.weight"
