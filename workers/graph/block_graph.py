"""Makes a serving graph whose integer products read their weights in blocks.

``MatMulIntegerToFloat`` takes activations that nodes before it have rounded. It is the fastest for
many tokens. For few tokens ``MatMulNBits`` reads the same weights faster. It rounds activations
itself, block by block, so the nodes in front of the products are removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from cupola.cache.convert.formats.external_data import array_of
from cupola.workers.graph.serving_graph import drop_dead_nodes

_BLOCK = 64  # weights that share a scale, and activations that are rounded together
_BITS, _MIDDLE = 8, 128
_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level of the fast kernels


@dataclass(frozen=True, slots=True)
class BlockGraph:
    """The new graph and its new weights."""

    model: bytes  # an onnx.ModelProto
    weights: dict[str, NDArray[np.generic]]  # initializers that lie in no file, by name


def with_block_weights(graph: bytes, folder: Path, max_bytes: int) -> BlockGraph | None:
    """The same function of the tokens, with activations that are rounded less coarsely.

    ``folder`` has the graph's external data. Returns None if there are no such products, or if the
    new weights would take more than ``max_bytes``. Raises OSError.
    """
    model = onnx.load_from_string(graph)
    rewriting = _Rewriting(model.graph, folder)
    if not 0 < rewriting.size <= max_bytes:
        return None
    for node in rewriting.products:
        rewriting.product(node)
    drop_dead_nodes(model.graph)
    del model.graph.value_info[:]
    return BlockGraph(model.SerializeToString(), rewriting.weights)


def block_weight_bytes(file: Path) -> int:
    """How many bytes those new weights would take. Only the graph itself is read.

    0: there would be none, or the file is no graph. Raises OSError.
    """
    try:
        model = onnx.load(str(file), load_external_data=False)
    except DecodeError:
        return 0
    return _Rewriting(model.graph, file.parent).size


class _Rewriting:
    def __init__(self, graph: onnx.GraphProto, folder: Path) -> None:
        self._graph = graph
        self._folder = folder
        self.weights: dict[str, NDArray[np.generic]] = {}
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    @property
    def products(self) -> list[NodeProto]:
        """The nodes that can be replaced."""
        return [node for node in self._graph.node if self._takes(node)]

    @property
    def size(self) -> int:
        """Bytes of all new weights and their scales."""
        return sum(self._size(node) for node in self.products)

    def _takes(self, node: NodeProto) -> bool:
        """Whether the node multiplies rounded activations by symmetric weights, without a bias."""
        if node.op_type != "MatMulIntegerToFloat" or any(node.input[5:]):
            return False
        rounding, weight = self._makers.get(node.input[0]), self._stored.get(node.input[1])
        if rounding is None or rounding.op_type != "QuantizeLinear" or weight is None:
            return False
        scales = self._stored.get(node.input[3])
        return (
            weight.data_type == TensorProto.INT8
            and len(weight.dims) == 2
            and scales is not None
            and list(scales.dims) == [weight.dims[1]]
        )

    def _size(self, node: NodeProto) -> int:
        inside, outside = map(int, self._stored[node.input[1]].dims)
        return outside * _blocks(inside) * (_BLOCK + np.dtype(np.float32).itemsize)

    def product(self, node: NodeProto) -> None:
        """Replace ``node`` by a product with weights in blocks."""
        x, output = self._makers[node.input[0]].input[0], node.output[0]
        norm = self._makers.get(x)
        # Tokens that were normalized for the rounding only are read as they were before.
        if norm is not None and (undone := self._undone(norm, output)) is not None:
            x, output = norm.input[0], undone.output[0]
            undone.output[0] = f"{output}/unused"
        weight, scales = (self._array(node.input[place]) for place in (1, 3))
        names = f"{node.input[1]}.blocks", f"{node.input[3]}.blocks"
        blocks = dict(zip(names, _in_blocks(weight, scales), strict=True))
        self.weights |= blocks
        self._graph.initializer.extend(_external(name, array) for name, array in blocks.items())
        inside, outside = weight.shape
        product = helper.make_node(
            "MatMulNBits",
            [x, *names],
            [output],
            name=node.name,
            domain="com.microsoft",
            K=inside,
            N=outside,
            bits=_BITS,
            block_size=_BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
        )
        node.CopyFrom(product)

    def _undone(self, norm: NodeProto, product: str) -> NodeProto | None:
        """The node that undoes, behind a product, what ``norm`` did in front of it."""
        if norm.op_type != "SimplifiedLayerNormalization" or len(norm.output) < 2:
            return None
        for reader in self._readers.get(product, ()):
            if reader.op_type == "Div" and list(reader.input) == [product, norm.output[1]]:
                return reader
        return None

    def _array(self, name: str) -> NDArray[np.generic]:
        return array_of(self._stored[name], self._folder)


def _in_blocks(
    weight: NDArray[np.generic], scales: NDArray[np.generic]
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Weights ``[K, N]`` of int8 and scales ``[N]``, in the layout of MatMulNBits.

    The weights become ``[N, K / block, block]`` of uint8 around 128, the scales ``[N, K / block]``.
    """
    inside, outside = weight.shape
    blocks = _blocks(inside)
    codes = np.full((outside, blocks * _BLOCK), _MIDDLE, np.uint8)
    np.bitwise_xor(weight.view(np.uint8).T, np.uint8(_MIDDLE), out=codes[:, :inside])
    each = np.repeat(scales.astype(np.float32)[:, None], blocks, axis=1)
    return codes.reshape(outside, blocks, _BLOCK), each


def _blocks(inside: int) -> int:
    """How many blocks so many weights of one output take."""
    return -(-inside // _BLOCK)


def _external(name: str, array: NDArray[np.generic]) -> TensorProto:
    """An initializer whose values are given to the session. It must name a file all the same."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "memory"), ("offset", "0"), ("length", str(array.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor
