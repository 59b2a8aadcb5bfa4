"""Reads the weights of an ONNX graph as float32, whatever its operators have them in.

Weights are found by the place of the node that reads them. The builders of graphs name a node by a
path, such as ``/model/layers.0/mlp/fc1/MatMul``, and what quantizes it adds to the last part.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from cupola.cache.errors import BrokenFileError, UnsupportedError

Floats = npt.NDArray[np.float32]
Array = np.ndarray[Any, Any]

_PRODUCTS = ("MatMul", "MatMulNBits")
_LOOK_UPS = ("Gather", "GatherBlockQuantized")
_BITS = (2, 4, 8)  # of a code
_FOUR_BITS = (TensorProto.INT4, TensorProto.UINT4)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_READ = (*_FLOATS, *_FOUR_BITS, TensorProto.UINT8)


class OnnxWeights:
    """The weights of the graph in ``path``.

    All methods raise BrokenFileError, UnsupportedError, OSError. Who made the graph may have named
    any file: ``check_graphs`` comes first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            graph = onnx.load(str(path), load_external_data=False).graph
        except FileNotFoundError:
            raise BrokenFileError(f"{path.name} is missing beside genai_config.json") from None
        except DecodeError:
            raise BrokenFileError(f"{path.name} is no ONNX file, or it is damaged") from None
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._places: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            self._places[node.name.rpartition("/")[0]].append(node)

    def has(self, place: str, *kinds: str) -> bool:
        """Whether there are nodes at ``place``, of one of the ``kinds`` if some are named."""
        return any(not kinds or node.op_type in kinds for node in self._places.get(place, ()))

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of the stored tensor ``name``."""
        if name not in self._stored:
            raise self._broken(f"it has no weights {name}")
        return tuple(self._stored[name].dims)

    def floats(self, name: str) -> Floats:
        """The values of the stored tensor ``name``."""
        if name in self._stored and self._stored[name].data_type not in _FLOATS:
            raise self._unknown(f"{name} is no float")
        return self._array(name).astype(np.float32)

    def product(self, place: str) -> Floats:
        """The weight ``[N, K]`` of the product at ``place``."""
        node = self.node(place, *_PRODUCTS)
        if node.op_type == "MatMul":
            return self.floats(_input(node, 1)).T
        if any(node.input[4:]):
            raise self._unknown(f"{node.name} has an order of its columns, or a bias")
        numbers = {each.name: int(each.i) for each in node.attribute}
        rows, columns, bits = numbers.get("N", 0), numbers.get("K", 0), numbers.get("bits", 4)
        if rows < 1 or bits not in _BITS:
            raise self._unknown(f"{node.name} has {rows} rows of {bits} bits")
        codes = _unpacked(self._rows(_input(node, 1), rows), bits)
        middle = 1 << (bits - 1)
        return self._of_blocks(node, codes, bits, middle)[:, :columns]

    def bias(self, place: str) -> Floats | None:
        """What is added at ``place``."""
        if not self.has(place, "Add"):
            return None
        stored = [name for name in self.node(place, "Add").input if name in self._stored]
        if len(stored) != 1:
            raise self._unknown(f"{place}/Add adds no bias")
        return self.floats(stored[0])

    def table(self, place: str, of: str) -> Floats:
        """The rows that the input ``of`` chooses from at ``place``."""
        for node in self._places.get(place, ()):
            if node.op_type not in _LOOK_UPS or of not in node.input:
                continue
            if node.op_type == "Gather":
                return self.floats(_input(node, 0))
            codes = self._array(_input(node, 0))
            if self._stored[node.input[0]].data_type not in _FOUR_BITS:
                raise self._unknown(f"{node.name} reads other codes than of four bits")
            return self._of_blocks(node, codes)
        raise self._broken(f"it has no table that '{of}' chooses from")

    def node(self, place: str, *kinds: str) -> onnx.NodeProto:
        """The only node of the ``kinds`` at ``place``."""
        found = [node for node in self._places.get(place, ()) if node.op_type in kinds]
        if len(found) != 1:
            raise self._broken(f"it has {len(found)} nodes {' or '.join(kinds)} at {place}")
        return found[0]

    def _of_blocks(
        self, node: onnx.NodeProto, codes: Array, bits: int = 4, zero: int = 0
    ) -> Floats:
        """What codes ``[N, K]`` mean, by the scales and the zero points that ``node`` has."""
        scales = self._rows(_input(node, 2), len(codes)).astype(np.float32)
        zeros: Array = np.array(zero)
        if name := _input(node, 3):
            zeros = self._rows(name, len(codes))
            if self._stored[name].data_type == TensorProto.UINT8:
                zeros = _unpacked(zeros, bits)[:, : scales.shape[1]]
            zeros = zeros[..., None]
        try:
            blocks = codes.reshape(*scales.shape, -1).astype(np.float32)
            values = (blocks - zeros.astype(np.float32)) * scales[..., None]
        except ValueError:
            raise self._broken(f"{node.name} has scales for other codes") from None
        return np.asarray(values.reshape(len(codes), -1), np.float32)

    def _rows(self, name: str, count: int) -> Array:
        try:
            return self._array(name).reshape(count, -1)
        except ValueError:
            raise self._broken(f"{name} does not have {count} rows") from None

    def _array(self, name: str) -> Array:
        if name not in self._stored:
            raise self._broken(f"it has no weights {name}")
        tensor = self._stored[name]
        if tensor.data_type not in _READ:
            kind = TensorProto.DataType.Name(tensor.data_type)
            raise self._unknown(f"{name} is of the type {kind}")
        try:
            return np.asarray(numpy_helper.to_array(tensor, str(self._path.parent)))
        except (ValueError, onnx.checker.ValidationError):
            raise self._broken(f"{name} does not have the bytes that its sizes need") from None

    def _broken(self, what: str) -> BrokenFileError:
        return BrokenFileError(f"{self._path.name}: {what}")

    def _unknown(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self._path.name}: {what}, which is not known here")


def _input(node: onnx.NodeProto, place: int) -> str:
    """The name of an input; empty: the node has none there."""
    return node.input[place] if place < len(node.input) else ""


def _unpacked(packed: Array, bits: int) -> Array:
    """The codes ``[N, K]`` in bytes that hold one, two or four of them, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed.view(np.uint8)[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(codes.reshape(len(packed), -1))
