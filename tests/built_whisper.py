"""A tiny Whisper with random weights, in the files of onnxruntime-genai's builder.

The nodes that read weights are there, with the builder's names and operators; those between them
are not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from tests.tiny_whisper import SHAPE, Values, values, write_tokenizer

Array = npt.NDArray[Any]
Float = np.float32 | np.float16

BLOCK = 32
_STANDARD = ("Add", "Conv", "Gather", "LayerNormalization", "MatMul", "Slice")


def write_built(
    folder: Path,
    made: Values | None = None,
    kind: type[Float] = np.float32,
    bits: int = 0,
) -> Path:
    """Returns the configuration. ``bits``: of the weights of products; 0: they are floats."""
    folder.mkdir(parents=True, exist_ok=True)
    made = made or values()
    for stack in ("encoder", "decoder"):
        graph = _Graph(made, kind, bits)
        graph.add_stack(stack)
        graph.save(folder / f"{stack}.onnx")
    sizes = {"num_attention_heads": SHAPE.decoder_attention_heads, "head_size": 32}
    config = {
        "type": "whisper",
        "context_length": SHAPE.max_target_positions,
        "encoder": {"filename": "encoder.onnx", **sizes},
        "decoder": {"filename": "decoder.onnx", **sizes},
        "vocab_size": SHAPE.vocab_size,
    }
    text = json.dumps({"model": config, "search": {"max_length": 448}})
    (folder / "genai_config.json").write_text(text)
    write_tokenizer(folder)
    return folder / "genai_config.json"


def blocks(rows: Array, bits: int) -> tuple[Array, Array]:
    """Codes ``[N, K]`` around ``2 ** (bits - 1)``, and scales ``[N, K / BLOCK]``."""
    cut = rows.reshape(len(rows), -1, BLOCK)
    middle = 1 << (bits - 1)
    scales = np.abs(cut).max(axis=-1) / (middle - 1)
    codes = np.rint(cut / scales[..., None]) + middle
    return codes.astype(np.uint8).reshape(rows.shape), scales.astype(np.float32)


def packed(codes: Array, bits: int) -> Array:
    """Codes ``[N, K]`` of 4 bits or 8, the lower ones first."""
    return codes if bits == 8 else codes[:, ::2] | codes[:, 1::2] << 4


class _Graph:
    def __init__(self, made: Values, kind: type[Float], bits: int) -> None:
        self._made, self._kind, self._bits = made, kind, bits
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []

    def add_stack(self, stack: str) -> None:
        first = "/model/preprocessing"
        if stack == "encoder":
            for number in (1, 2):
                names = [f"encoder.conv{number}.{end}" for end in ("weight", "bias")]
                self._node("Conv", f"{first}/Conv_{number}", *map(self._copied, names))
            self._node("Add", f"{first}/Add", "x", self._copied("encoder.embed_positions.weight"))
        else:
            self._node("Slice", f"{first}/Slice", self._copied("decoder.embed_positions.weight"))
            self._embedding(f"{first}/Gather_1")
        for number in range(2):
            self._layer(stack, number)
        self._norm("/model/layers.2/final_norm_layernorm", f"model.{stack}.layer_norm")
        if stack == "encoder":
            for number in range(2):
                for part in ("k_proj", "v_proj"):
                    to = f"/model/layers.{number}/attn/cross/{part}"
                    self._linear(to, f"model.decoder.layers.{number}.encoder_attn.{part}")
        else:
            self._product("/lm_head", self._made["model.decoder.embed_tokens.weight"])

    def save(self, path: Path) -> None:
        graph = helper.make_graph(self._nodes, path.stem, [], [], self._tensors)
        opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        external_data_helper.convert_model_to_external_data(
            model, location=f"{path.name}.data", size_threshold=0
        )
        onnx.save(model, str(path))

    def _layer(self, stack: str, number: int) -> None:
        at, to = f"model.{stack}.layers.{number}", f"/model/layers.{number}"
        if stack == "encoder":
            self._norm(f"{to}/input_layernorm", f"{at}.self_attn_layer_norm")
            self._attention(f"{to}/attn", f"{at}.self_attn")
        else:
            self._norm(f"{to}/self_attn_layernorm", f"{at}.self_attn_layer_norm")
            for part in ("q_proj", "k_proj", "v_proj"):
                self._linear(f"{to}/attn/{part}", f"{at}.self_attn.{part}")
            self._norm(f"{to}/cross_attn_layernorm", f"{at}.encoder_attn_layer_norm")
            for part, name in (("q_proj", "q_proj"), ("o_proj", "out_proj")):
                self._linear(f"{to}/cross_attn/{part}", f"{at}.encoder_attn.{name}")
        self._linear(f"{to}/attn/o_proj", f"{at}.self_attn.out_proj")
        self._norm(f"{to}/post_attention_layernorm", f"{at}.final_layer_norm")
        for part in ("fc1", "fc2"):
            self._linear(f"{to}/mlp/{part}", f"{at}.{part}")

    def _attention(self, to: str, at: str) -> None:
        """Queries, keys and values in one product, which is never quantized."""
        parts = [f"{at}.{part}_proj" for part in "qkv"]
        weight = np.concatenate([self._made[f"{part}.weight"] for part in parts]).T
        nothing = np.zeros(SHAPE.d_model, np.float32)
        bias = np.concatenate([self._made.get(f"{part}.bias", nothing) for part in parts])
        name = f"{to[1:].replace('/', '.')}.qkv_proj"
        weights = [self._stored(f"{name}.weight", weight), self._stored(f"{name}.bias", bias)]
        self._node("Attention", f"{to}/Attention", "x", *weights)

    def _linear(self, to: str, at: str) -> None:
        self._product(to, self._made[f"{at}.weight"])
        if f"{at}.bias" in self._made:
            bias = self._stored(f"{to[1:].replace('/', '.')}.Add.bias", self._made[f"{at}.bias"])
            self._node("Add", f"{to}/Add", f"{to}/MatMul/output_0", bias)

    def _product(self, to: str, weight: Array) -> None:
        name = f"{to[1:].replace('/', '.')}.MatMul.weight"
        if not self._bits:
            self._node("MatMul", f"{to}/MatMul", "x", self._stored(name, weight.T))
            return
        codes, scales = blocks(weight, self._bits)
        codes = packed(codes, self._bits).reshape(*scales.shape, -1)
        self._tensors.append(numpy_helper.from_array(codes, f"{name}_Q{self._bits}"))
        inputs = ["x", f"{name}_Q{self._bits}", self._stored(f"{name}_scales", scales)]
        sizes = dict(zip(("N", "K"), weight.shape, strict=True))
        sizes |= {"bits": self._bits, "block_size": BLOCK}
        self._node("MatMulNBits", f"{to}/MatMul_Q{self._bits}", *inputs, **sizes)

    def _embedding(self, name: str) -> None:
        rows, table = self._made["model.decoder.embed_tokens.weight"], "decoder.embed_tokens.weight"
        if self._bits != 4:
            self._node("Gather", name, self._stored(table, rows), "input_ids", axis=0)
            return
        codes, scales = blocks(rows, 4)
        tensor = helper.make_tensor(
            f"{table}_Q4", TensorProto.INT4, rows.shape, codes.astype(np.int8).ravel() - 8
        )
        self._tensors.append(tensor)
        inputs = [tensor.name, "input_ids", self._stored(f"{table}_scales", scales)]
        self._node("GatherBlockQuantized", f"{name}_Q4", *inputs, block_size=BLOCK, quantize_axis=1)

    def _norm(self, to: str, at: str) -> None:
        name = to[1:].replace("/", ".")
        ends = [(f"{name}.{end}", self._made[f"{at}.{end}"]) for end in ("weight", "bias")]
        stored = [self._stored(name, value) for name, value in ends]
        self._node("LayerNormalization", f"{to}/LayerNorm", "x", *stored)

    def _copied(self, name: str) -> str:
        return self._stored(name, self._made[f"model.{name}"])

    def _stored(self, name: str, value: Array) -> str:
        stored = np.ascontiguousarray(value.astype(self._kind))
        self._tensors.append(numpy_helper.from_array(stored, name))
        return name

    def _node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> None:
        domain = "" if kind in _STANDARD else "com.microsoft"
        out = [f"{name}/output_0"]
        self._nodes.append(helper.make_node(kind, inputs, out, name, domain=domain, **attributes))
