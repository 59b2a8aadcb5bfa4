"""A model folder to one whose weights have fewer bits: of floats eight or four, of eight bits four.

It takes folders of onnxruntime-genai's form for the CPU, whoever made them. The graph stays as it
is, up to the products with weights. Other weights are copied.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from msgspec.structs import replace
from onnx import numpy_helper

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.formats.external_data import array_of
from cupola.cache.convert.formats.json_file import read_json
from cupola.cache.convert.formats.onnx_nodes import alive_nodes, node_inputs
from cupola.cache.convert.formats.onnx_tensor import OnnxMatrix
from cupola.cache.convert.formats.weights_file import DATA_FILE, WeightsFile
from cupola.cache.convert.graph.graph_nodes import GraphNodes
from cupola.cache.convert.graph.initializers import Initializers, StoredWeights
from cupola.cache.convert.graph.projections import Projections
from cupola.cache.convert.model_files import inference_model, write_bytes, write_json
from cupola.cache.convert.quality.evaluator import Evaluator
from cupola.cache.convert.quality.runtime import RunShape
from cupola.cache.convert.quantization.four_bit_weights import keeps_more_bits
from cupola.cache.convert.quantization.quantize import BLOCK
from cupola.cache.convert.weight_kinds import weight_kinds
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.model_config import GENAI_CONFIG
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.quality import QUALITY_FILE

_COPIED = (".json", ".jinja")
_NOT_COPIED = (
    *(GENAI_CONFIG, QUALITY_FILE, "inference_model.json", ".inference_model.json"),
    *("cupola-digests.json", "cupola-source.json"),
)
_INLINE_BYTES = 1 << 16
_LAYER = re.compile(r"/layers\.(\d+)/(attn/(?:qkv|v)_proj|mlp/down_proj)")
_NUMBER = re.compile(r"/layers\.(\d+)/")
_PRODUCTS = ("Cast", "MatMul", "MatMulNBits")
# Beside them, a graph's floats are rotations and the like, which are no weights.
_INTEGER_PRODUCTS = frozenset(
    {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"}
)
_READ = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8}


def requantize(
    source: Path,
    target: Path,
    variant: ModelVariant,
    precision: Precision,
    progress: Progress = silent,
) -> None:
    """Writes the model folder ``target``, which must not exist, from the folder ``source``.

    ``inference_model.json`` is written last. ``quality.json`` compares the new model with the
    source. Raises ModelFileError for a model that cannot be quantized further, OSError.
    """
    config = read_json(source / GENAI_CONFIG)
    shape = _run_shape(config)
    graph_file = config["model"].get("decoder", {}).get("filename", "model.onnx")
    rewriting = _Rewriting(source, source / graph_file, target, precision, progress)
    tokenizer = read_json(source / "tokenizer.json")
    evaluator = Evaluator(source, shape, tokenizer, graph_file)
    evaluator.remember_exact()
    target.mkdir(parents=True)
    stored = rewriting.write()
    quality = replace(evaluator.of(target).measure(), weights=weight_kinds(stored))
    for path in sorted(source.iterdir()):
        if path.suffix in _COPIED and path.name not in _NOT_COPIED:
            shutil.copyfile(path, target / path.name)
    config["model"].setdefault("decoder", {})["filename"] = "model.onnx"
    write_json(target / GENAI_CONFIG, config)
    write_bytes(target / QUALITY_FILE, quality.encoded())
    template = target / "chat_template.jinja"
    text = template.read_text("utf-8", "replace") if template.is_file() else ""
    write_json(target / "inference_model.json", inference_model(variant, text, ""))


def _run_shape(config: dict[str, Any]) -> RunShape:
    model = config.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(decoder, dict):
        raise BrokenFileError(f"{GENAI_CONFIG} has no 'model.decoder'")

    def size(where: dict[str, Any], key: str) -> int:
        value = where.get(key)
        if type(value) is not int or value < 1:
            raise BrokenFileError(f"{GENAI_CONFIG} does not say the sizes of the decoder: '{key}'")
        return value

    return RunShape(
        layers=size(decoder, "num_hidden_layers"),
        kv_heads=size(decoder, "num_key_value_heads"),
        head_size=size(decoder, "head_size"),
        context_length=size(model, "context_length"),
    )


class _Rewriting:
    """The writing of one graph."""

    def __init__(
        self, source: Path, graph: Path, target: Path, precision: Precision, progress: Progress
    ) -> None:
        try:
            self._model = onnx.load(str(graph), load_external_data=False)
        except DecodeError as error:
            raise BrokenFileError(f"{graph.name} is damaged: {error}") from None
        if any(node.op_type in _INTEGER_PRODUCTS for node in self._model.graph.node):
            bits = precision.bits
            raise UnsupportedError(
                "The model's products are of integers, so its weights cannot be rounded further. "
                f"Import its source (cupola model import SOURCE --bits {bits}), or take the "
                f"catalog's variant of {bits} bits (cupola model list)"
            )
        self._folder = source
        self._target = target
        self._precision = precision
        self._progress = progress
        self._total = sum(path.stat().st_size for path in source.glob(f"{graph.name}*"))
        self._done = 0
        self._stored = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self._model.graph.node:
            for name in node.input:
                self._readers[name].append(node)
        numbers = _NUMBER.findall(" ".join(node.name for node in self._model.graph.node))
        self._layers = 1 + max(map(int, numbers), default=0)
        self._makers = {output: node for node in self._model.graph.node for output in node.output}

    def write(self) -> list[StoredWeights]:
        """Writes the graph and its data. Returns what was rounded."""
        graph = self._model.graph
        nodes = GraphNodes()
        with WeightsFile(self._target / DATA_FILE) as data:
            stored = Initializers(data, self._precision, self._advance)
            projections = Projections(nodes, stored)
            for node in graph.node:
                matrix = self._matrix(node)
                if matrix is None:
                    nodes.nodes.append(node)
                    continue
                at = node.name.rpartition("/")[0] or node.name or node.output[0]
                projections.add(node.input[0], self._rounding(at, matrix), at, node.output[0])
            if not stored.matrices:
                raise UnsupportedError(
                    f"The model has no weights of more than {self._precision.bits} bits that can "
                    "be rounded further"
                )
            alive = alive_nodes(nodes.nodes, {value.name for value in graph.output})
            # New weights may have the names of those that they replace.
            read = {name for node in alive for name in node_inputs(node)}
            read -= {tensor.name for tensor in stored.tensors}
            for tensor in graph.initializer:
                if tensor.name in read:
                    stored.tensors.append(self._copied(tensor, data))
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(alive)
        graph.initializer.extend(stored.tensors)
        if not any(each.domain == "com.microsoft" for each in self._model.opset_import):
            self._model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
        write_bytes(self._target / "model.onnx", self._model.SerializeToString())
        return stored.matrices

    def _matrix(self, node: onnx.NodeProto) -> OnnxMatrix | None:
        """The weights of a product, if they have more bits than are wanted."""
        if node.op_type == "MatMul":
            return self._floats(node.input[1])
        bits = next((each.i for each in node.attribute if each.name == "bits"), 4)
        plain = not any(node.input[3:])  # no zero points, order or bias
        if node.op_type != "MatMulNBits" or not plain or bits <= self._precision.bits:
            return None
        sizes = {each.name: int(each.i) for each in node.attribute if each.name in ("N", "K")}
        codes, scales = (self._array(name) for name in node.input[1:3])
        if codes is None or scales is None or bits != 8 or self._is_shared(node.input[1]):
            return None
        rows, columns = sizes["N"], sizes["K"]
        return OnnxMatrix(
            node.input[1],
            codes.reshape(rows, -1)[:, :columns],
            "8 bits",
            scales.reshape(rows, -1).astype(np.float32),
        )

    def _floats(self, name: str) -> OnnxMatrix | None:
        """``name``: an initializer ``[K, N]``, or what a Cast makes of one."""
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "Cast":
            name = maker.input[0]
        array = self._array(name)
        if array is None or array.ndim != 2 or len(array) % BLOCK or self._is_shared(name):
            return None
        return OnnxMatrix(name, array.T, str(array.dtype).upper().replace("FLOAT", "F"))

    def _is_shared(self, name: str) -> bool:
        """Whether the embedding reads the same values: then they stay, once, as they are."""
        readers = self._readers[name]
        casts = [node.output[0] for node in readers if node.op_type == "Cast"]
        readers = [*readers, *(node for cast in casts for node in self._readers[cast])]
        if any(node.op_type not in _PRODUCTS for node in readers):
            return True
        place = _place(self._stored[name])
        others = (each for other, each in self._stored.items() if other != name)
        return place is not None and any(_place(each) == place for each in others)

    def _array(self, name: str) -> np.ndarray[Any, Any] | None:
        tensor = self._stored.get(name)
        if tensor is None or tensor.data_type not in _READ:
            return None
        return array_of(tensor, self._folder)

    def _rounding(self, at: str, matrix: OnnxMatrix) -> Matrix:
        """Four bits, and eight for the head and for the sensitive weights of some layers."""
        found = _LAYER.search(at)
        sensitive = found is not None and keeps_more_bits(int(found[1]), self._layers)
        four = self._precision is Precision.INT4 and "lm_head" not in at and not sensitive
        return Matrix((matrix,), (None,), four_bits=four)

    def _copied(self, tensor: onnx.TensorProto, data: WeightsFile) -> onnx.TensorProto:
        array = array_of(tensor, self._folder)
        if array.nbytes < _INLINE_BYTES:
            return numpy_helper.from_array(array, tensor.name)
        self._advance(array.nbytes)
        return data.write(tensor.name, array.dtype, array.shape, [array])

    def _advance(self, size: int) -> None:
        self._done = min(self._done + size, self._total)
        self._progress("convert", self._done, self._total)


def _place(tensor: onnx.TensorProto) -> tuple[str, ...] | None:
    entries = {each.key: each.value for each in tensor.external_data}
    return (entries["location"], entries.get("offset", "0")) if "location" in entries else None
