"""The products with weight matrices in a decoder's graph, in each precision.

W8A8 is one integer product for all tokens of a run. Activations are divided by a scale and rounded
to unsigned bytes around 128. ONNX Runtime's VNNI and AMX kernels take unsigned bytes; signed ones
are ten times slower. Without these instructions the sums of two products saturate at 16 bits, so
the weights become unsigned when a session starts (``unsigned_weights``).

All channels that a product reads are rotated, so that none is louder than the others. A norm gives
all tokens the same length, so behind a norm all tokens share one scale: the largest magnitude of
the calibration text / 127. Elsewhere an extra norm gives the tokens one length first. Its second
output holds the factors that it has multiplied them by.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from cupola.cache.convert.graph.graph_nodes import MICROSOFT, GraphNodes
from cupola.cache.convert.graph.initializers import Initializers, StoredBlocks
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.convert.weights.rotation import rotate
from cupola.cache.precision import Precision

_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level of the fast kernels
# The share of tokens whose loudest channel is represented in full. The others are cut off there, so
# that all tokens are rounded more finely.
_SHARE_IN_FULL = 0.99
# The magnitude that 127 stands for where there is no calibration input, as for a head. A rotated
# stream is as even as noise, of which one number in 150,000 is louder.
_NOISE_PEAK = 4.5
_MIDDLE = "w8a8.middle"
_TINY = 1e-12  # added to the mean square of a token, which may be zero


class Projections:
    """Adds ``x [..., K]`` times transposed ``[N, K]`` weights to a graph."""

    def __init__(self, nodes: GraphNodes, initializers: Initializers) -> None:
        self._nodes = nodes
        self._stored = initializers
        self._precision = initializers.precision
        self._rounded: dict[str, tuple[str, str]] = {}  # by the name of what was rounded
        self._means: dict[tuple[str, int], str] = {}  # by the name of what was averaged, and block
        self._rotations: dict[int, str] = {}  # by size
        if self._precision is Precision.W8A8:
            self._stored.constant(_MIDDLE, np.array(128, np.uint8))

    def add(
        self, x: str, matrix: Matrix, at: str, output: str | None = None, *, normed: bool = False
    ) -> str:
        """Adds the product in the model's precision. Returns the name of its output.

        ``normed``: the tokens of ``x`` have one length.
        """
        if self._precision.is_float:
            stored = self._stored.float_matrix(_weight(at), matrix, transposed=True)
            return self.add_stored(x, stored, matrix.shape, at, output)
        if self._precision is not Precision.W8A8:
            return self._add_blocks(x, matrix, at, output)
        if normed and matrix.inputs is not None:
            rounded = self._round(x, float(np.abs(matrix.inputs).max()))
            return self._integer_product(rounded, matrix, at, output)
        x, inverse_lengths = self._norm(x, matrix.shape[1])
        product = self._integer_product(self._round(x, _peak(matrix.inputs)), matrix, at)
        return self._nodes.add("Div", [product, inverse_lengths], f"{at}/Div", output)

    def add_stored(
        self, x: str, weight: str, shape: tuple[int, int], at: str, output: str | None
    ) -> str:
        """Adds the product with an initializer that another node has stored already."""
        if self._precision.is_float:
            return self._nodes.add("MatMul", [x, self.as_float(weight, at)], f"{at}/MatMul", output)
        block = self._stored.block_size(shape[1])
        stored = StoredBlocks([f"{weight}_Q8", f"{weight}_scales"], shape, 8, block, means=False)
        return self._block_product(x, stored, at, output)

    def _add_blocks(self, x: str, matrix: Matrix, at: str, output: str | None) -> str:
        """Adds the product with weights in blocks, of eight bits or four."""
        parts = [matrix] if self._precision is Precision.INT8 else matrix.by_coding()
        if len(parts) > 1:
            products = [
                self._add_blocks(x, part, f"{at}/part_{number}", None)
                for number, part in enumerate(parts)
            ]
            return self._nodes.add("Concat", products, f"{at}/Concat", output, axis=-1)
        if self._precision is Precision.INT4 and (matrix.coding is not None or matrix.four_bits):
            stored = self._stored.four_bit_matrix(_weight(at), matrix)
            if stored.means:
                x = self._with_means(x, stored.block)
            return self._block_product(x, stored, at, output)
        self._stored.quantized_matrix(_weight(at), matrix)
        return self.add_stored(x, _weight(at), matrix.shape, at, output)

    def _block_product(self, x: str, stored: StoredBlocks, at: str, output: str | None) -> str:
        return self._nodes.add(
            "MatMulNBits",
            [x, *stored.inputs],
            f"{at}/MatMul_Q{stored.bits}",
            output,
            domain=MICROSOFT,
            N=stored.shape[0],
            K=stored.shape[1],
            bits=stored.bits,
            block_size=stored.block,
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def _with_means(self, x: str, block: int) -> str:
        """Adds, once, the means of each block behind ``x``: ``[..., K + K / block]``."""
        if (x, block) not in self._means:
            at, sizes = f"{x}/means_{block}", [block]
            means = self._nodes.add(
                "AveragePool", [x], f"{at}/AveragePool", kernel_shape=sizes, strides=sizes
            )
            self._means[x, block] = self._nodes.add("Concat", [x, means], f"{at}/Concat", axis=-1)
        return self._means[x, block]

    def as_float(self, weight: str, at: str) -> str:
        """The name of stored floats in 32 bits. The runtime converts them once, at load."""
        if self._precision is Precision.FP32:
            return weight
        return self._nodes.add("Cast", [weight], f"{at}/Cast", to=TensorProto.FLOAT)

    def rotate(self, x: str, width: int, size: int, at: str) -> str:
        """Adds the rotation of each ``size`` channels of ``x [batch, tokens, width]``."""
        if size not in self._rotations:
            matrix = rotate(np.eye(size, dtype=np.float32), size)
            self._rotations[size] = self._stored.constant(f"turn.{size}", matrix)
        groups, whole = (
            self._stored.constant(f"{at}/{columns}", np.array([0, -1, columns], np.int64))
            for columns in (size, width)
        )
        x = self._nodes.add("Reshape", [x, groups], f"{at}/Reshape_1")
        x = self._nodes.add("MatMul", [x, self._rotations[size]], f"{at}/MatMul")
        return self._nodes.add("Reshape", [x, whole], f"{at}/Reshape_2")

    def _integer_product(
        self, rounded: tuple[str, str], matrix: Matrix, at: str, output: str | None = None
    ) -> str:
        codes, scales = self._stored.channel_matrix(_weight(at), matrix)
        inputs = [rounded[0], codes, rounded[1], scales, _MIDDLE]
        at = f"{at}/MatMulIntegerToFloat"
        return self._nodes.add("MatMulIntegerToFloat", inputs, at, output, domain=MICROSOFT)

    def _round(self, x: str, peak: float) -> tuple[str, str]:
        """Adds the rounding of ``x``, once: the names of bytes ``[..., K]`` and of their scale."""
        if x not in self._rounded:
            at = f"{x}/round"
            scale = self._stored.constant(f"{at}/scale", np.array(peak / 127, np.float32))
            rounded = self._nodes.add("QuantizeLinear", [x, scale, _MIDDLE], f"{at}/QuantizeLinear")
            self._rounded[x] = rounded, scale
        return self._rounded[x]

    def _norm(self, x: str, width: int) -> tuple[str, str]:
        """Adds a norm that gives the tokens of ``x`` the length 1.

        Returns the names of its output and of the factors ``[..., 1]``.
        """
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


def _peak(inputs: npt.NDArray[np.float32] | None) -> float:
    """The magnitude that 127 stands for, where the mean square of each token is 1.

    ``inputs``: ``[tokens, K]``, of the calibration text.
    """
    if inputs is None:
        return _NOISE_PEAK
    lengths = np.sqrt((inputs**2).mean(axis=-1) + _TINY)
    return float(np.quantile(np.abs(inputs).max(axis=-1) / lengths, _SHARE_IN_FULL))


def _weight(at: str) -> str:
    return f"{at.lstrip('/').replace('/', '.')}.MatMul.weight"
