"""Times one product of a layer in every form that ONNX Runtime has for it, by the number of rows.

    python loadtests/products.py --inputs 2048 --outputs 8192 --rows 1,4,16,64,256

The forms take turns in every round. Printed are the medians in microseconds, and what a weight
takes in memory. Where integer products add two products of bytes in 16 bits (AVX2 without VNNI),
signed weights of 8 bits may saturate; those of 7 bits and unsigned ones do not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cupola.loadtests.report.markdown import table

_MICROSOFT = "com.microsoft"


class Product:
    """``[rows, K]`` times ``[K, N]``, in one form."""

    def __init__(self, inputs: int, outputs: int, threads: int) -> None:
        self._inputs, self._outputs, self._threads = inputs, outputs, threads
        self._random = np.random.default_rng(0)

    def floats(self) -> ort.InferenceSession:
        """Weights and activations of 32 bits."""
        weights = self._random.standard_normal((self._inputs, self._outputs), dtype=np.float32)
        return self._session([helper.make_node("MatMul", ["x", "w"], ["y"])], w=weights)

    def integers(self, kind: type[np.integer] = np.int8, bits: int = 8) -> ort.InferenceSession:
        """One scale for each channel, and activations of 8 bits with one scale."""
        middle = 128 if kind is np.uint8 else 0
        most = 2 ** (bits - 1) - 1
        size = (self._inputs, self._outputs)
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "m"], ["q"]),
            helper.make_node(
                "MatMulIntegerToFloat", ["q", "w", "s", "ws", "m", "wm"], ["y"], domain=_MICROSOFT
            ),
        ]
        return self._session(
            nodes,
            w=(self._random.integers(-most, most + 1, size) + middle).astype(kind),
            s=np.array(0.02, np.float32),
            m=np.array(128, np.uint8),
            ws=np.full(self._outputs, 0.001, np.float32),
            wm=np.array(middle, kind),
        )

    def blocks(
        self, bits: int, block: int, *, zero_points: bool = False, level: int = 4
    ) -> ort.InferenceSession:
        """A scale for each block, and activations that are rounded block by block."""
        count = -(-self._inputs // block)
        shape = (self._outputs, count, block * bits // 8)
        stored: dict[str, np.ndarray] = {
            "w": self._random.integers(0, 256, shape, dtype=np.uint8),
            "s": self._random.random((self._outputs, count), dtype=np.float32) / 1000,
        }
        if zero_points:
            size = (self._outputs, -(-count * bits // 8))
            stored["z"] = self._random.integers(0, 256, size, dtype=np.uint8)
        node = helper.make_node(
            "MatMulNBits",
            ["x", *stored],
            ["y"],
            domain=_MICROSOFT,
            K=self._inputs,
            N=self._outputs,
            bits=bits,
            block_size=block,
            accuracy_level=level,
        )
        return self._session([node], **stored)

    def _session(self, nodes: list[NodeProto], **stored: np.ndarray) -> ort.InferenceSession:
        x, y = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size])
            for name, size in (("x", self._inputs), ("y", self._outputs))
        )
        tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
        graph = helper.make_graph(nodes, "product", [x], [y], tensors)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(_MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


FORMS: dict[str, tuple[float, Callable[[Product], ort.InferenceSession]]] = {
    "float32": (32, Product.floats),
    "integers, signed weights": (8, Product.integers),
    "integers, signed weights of 7 bits": (8, lambda product: product.integers(bits=7)),
    "integers, unsigned weights": (8, lambda product: product.integers(np.uint8)),
    "8 bits, blocks of 32": (9, lambda product: product.blocks(8, 32)),
    "8 bits, blocks of 64": (8.5, lambda product: product.blocks(8, 64)),
    "8 bits, blocks of 128": (8.25, lambda product: product.blocks(8, 128)),
    "4 bits, blocks of 32": (5, lambda product: product.blocks(4, 32)),
    "4 bits, 32, zero points": (5.1, lambda product: product.blocks(4, 32, zero_points=True)),
    "4 bits, 64, zero points": (4.6, lambda product: product.blocks(4, 64, zero_points=True)),
    "4 bits, 128, zero points": (4.3, lambda product: product.blocks(4, 128, zero_points=True)),
    "4 bits, 32, float activations": (5, lambda product: product.blocks(4, 32, level=0)),
}


def main() -> None:
    options = _options()
    product = Product(options.inputs, options.outputs, options.threads)
    rows: list[int] = options.rows
    sessions = {name: make(product) for name, (_, make) in FORMS.items()}
    medians: dict[str, list[float]] = {name: [] for name in FORMS}
    for count in rows:
        x = np.random.default_rng(1).standard_normal((count, options.inputs), dtype=np.float32)
        times: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(options.rounds):
            for name, session in sessions.items():
                session.run(None, {"x": x})  # the weights of another form were in the cache
                began = time.perf_counter()
                session.run(None, {"x": x})
                times[name].append(time.perf_counter() - began)
        for name, found in times.items():
            medians[name].append(statistics.median(found) * 1e6)
    lines = [
        [name, f"{bits:g}", *(f"{median:,.0f}" for median in medians[name])]
        for name, (bits, _) in FORMS.items()
    ]
    print(table(["form", "bits a weight", *map(str, rows)], lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--outputs", type=int, default=8192)
    parser.add_argument(
        "--rows", type=lambda text: [int(n) for n in text.split(",")], default="1,4,16,64,256"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
