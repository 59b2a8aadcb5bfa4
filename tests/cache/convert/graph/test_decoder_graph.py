"""Tiny random decoders: every kind of graph against a plain NumPy forward pass."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from gguf.constants import GGMLQuantizationType

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.precision import Precision
from tests.cache.convert.genai import genai_greedy
from tests.cache.convert.plain_graph import Graph
from tests.cache.convert.reference import Reference
from tests.cache.convert.tiny_gguf import TinyModel

IDS = [1, 72, 5, 260, 33, 99, 100, 101, 2, 17, 200, 201]

SHAPES = {
    "llama": TinyModel(),
    "untied": TinyModel(tied=False),
    "rope factors": TinyModel(rope_factors=True),
    "biases": TinyModel(biases=True),
    "one head for all": TinyModel(kv_heads=1),
    "no grouping": TinyModel(kv_heads=4),
    "qwen2": TinyModel(architecture="qwen2", biases=True),
    "wider heads": TinyModel(head_size=32),
    "qwen3": TinyModel(architecture="qwen3", head_norms=True, head_size=32),
    "stored as Q8_0": TinyModel(kind=GGMLQuantizationType.Q8_0),
    "stored as F16": TinyModel(kind=GGMLQuantizationType.F16),
    "stored as BF16": TinyModel(kind=GGMLQuantizationType.BF16),
}


@pytest.mark.parametrize("model", SHAPES.values(), ids=SHAPES.keys())
def test_fp32_is_the_same_function(model: TinyModel, tmp_path: Path) -> None:
    gguf = model.write(tmp_path / "m.gguf")
    folder = converted(gguf, tmp_path, Precision.FP32)
    difference = np.abs(Graph(folder).logits(IDS) - Reference(gguf).logits(IDS)).max()
    assert difference < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("model", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize(
    ("precision", "limit"),
    [
        (Precision.INT8, 0.05),
        (Precision.FP16, 0.01),
        (Precision.INT4, 0.3),
        (Precision.W8A8, 0.05),
    ],
)
def test_quantised_is_near(
    precision: Precision, limit: float, model: TinyModel, tmp_path: Path
) -> None:
    gguf = model.write(tmp_path / "m.gguf")
    folder = converted(gguf, tmp_path, precision)
    expected = Reference(gguf).logits(IDS)
    found = Graph(folder).logits(IDS)
    error = np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean())
    assert error < limit


KINDS = GGMLQuantizationType
FOUR_BITS = {
    "Q4_0": TinyModel(kind=KINDS.Q4_0),
    "Q4_1": TinyModel(kind=KINDS.Q4_1),
    "Q4_1, biases": TinyModel(architecture="qwen2", kind=KINDS.Q4_1, biases=True),
    "Q4_1, head norms": TinyModel(
        architecture="qwen3", head_norms=True, head_size=32, kind=KINDS.Q4_1
    ),
    "Q4_1, untied": TinyModel(kind=KINDS.Q4_1, tied=False),
    "Q4_1, wide": TinyModel(kind=KINDS.Q4_1, hidden=1088, heads=4, kv_heads=1, layers=1),
    "Q4_K": TinyModel(kind=KINDS.Q4_K, hidden=256, intermediate=512),
    "Q4_K with Q8_0": TinyModel(
        kind=KINDS.Q4_K,
        kinds={"attn_v": KINDS.Q8_0, "ffn_down": KINDS.Q8_0},
        hidden=256,
        intermediate=512,
    ),
    "Q8_0 in the middle": TinyModel(kind=KINDS.Q4_0, kinds={"attn_k": KINDS.Q8_0}),
    "Q4_0 and Q4_1": TinyModel(kind=KINDS.Q4_0, kinds={"attn_q": KINDS.Q4_1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", FOUR_BITS.values(), ids=FOUR_BITS.keys())
def test_four_bits_stay_as_they_are(model: TinyModel, tmp_path: Path) -> None:
    """What is left is the rounding of activations, and that of the embedding to 8 bits."""
    gguf = model.write(tmp_path / "m.gguf")
    folder = converted(gguf, tmp_path, Precision.INT4)
    expected = Reference(gguf).logits(IDS)
    for accuracy_level, limit in ((0, 0.012), (None, 0.05)):
        found = Graph(folder, accuracy_level).logits(IDS)
        error = np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean())
        assert error < limit


def test_each_tensor_has_the_bits_of_the_file(tmp_path: Path) -> None:
    gguf = FOUR_BITS["Q4_K with Q8_0"].write(tmp_path / "m.gguf")
    model = onnx.load(converted(gguf, tmp_path, Precision.INT4) / "model.onnx")
    bits = {
        node.name: next(each.i for each in node.attribute if each.name == "bits")
        for node in model.graph.node
        if node.op_type == "MatMulNBits" and "layers.1" not in node.name
    }
    assert bits == {
        "/model/layers.0/attn/qkv_proj/part_0/MatMul_Q4": 4,
        "/model/layers.0/attn/qkv_proj/part_1/MatMul_Q8": 8,
        "/model/layers.0/attn/o_proj/MatMul_Q4": 4,
        "/model/layers.0/mlp/gate_proj/MatMul_Q4": 4,
        "/model/layers.0/mlp/up_proj/MatMul_Q4": 4,
        "/model/layers.0/mlp/down_proj/MatMul_Q8": 8,
        "/lm_head/MatMul_Q8": 8,
    }


def test_cached_steps_are_the_same_as_the_whole(tmp_path: Path) -> None:
    gguf = TinyModel().write(tmp_path / "m.gguf")
    graph = Graph(converted(gguf, tmp_path, Precision.FP32))
    answer = graph.greedy(IDS, 8, end=-1)
    whole = graph.logits([*IDS, *answer]).argmax(-1)
    assert answer == whole[len(IDS) - 1 : -1].tolist()


def test_is_the_graph_that_genais_builder_makes(tmp_path: Path) -> None:
    gguf = TinyModel().write(tmp_path / "m.gguf")
    model = onnx.load(converted(gguf, tmp_path, Precision.INT8) / "model.onnx")
    inputs = [value.name for value in model.graph.input]
    assert inputs[:4] == [
        "input_ids",
        "attention_mask",
        "past_key_values.0.key",
        "past_key_values.0.value",
    ]
    assert [value.name for value in model.graph.output][:2] == ["logits", "present.0.key"]
    operators = {node.op_type for node in model.graph.node}
    assert operators >= {
        "GatherBlockQuantized",
        "GroupQueryAttention",
        "MatMulNBits",
        "SimplifiedLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }


def test_tied_embedding_is_stored_once(tmp_path: Path) -> None:
    """int8: 1 byte a weight and 4 a block of 32; the rest is pages' padding and rotary tables."""
    tied, untied = TinyModel(hidden=256, heads=4), TinyModel(hidden=256, heads=4, tied=False)
    sizes = []
    for name, model in (("tied", tied), ("untied", untied)):
        folder = tmp_path / name
        folder.mkdir()
        data = converted(model.write(folder / "m.gguf"), folder, Precision.INT8) / "model.onnx.data"
        sizes.append(data.stat().st_size)
    assert sizes[1] - sizes[0] >= tied.vocabulary * tied.hidden


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.W8A8])
def test_genai_loads_the_folder_and_agrees(precision: Precision, tmp_path: Path) -> None:
    gguf = TinyModel().write(tmp_path / "m.gguf")
    folder = converted(gguf, tmp_path, precision)
    assert genai_greedy(folder, IDS, 8) == Graph(folder).greedy(IDS, 8, end=2)


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (TinyModel(architecture="mamba"), UnsupportedError, "'mamba'.*llama"),
        (TinyModel(extra_tensors=("blk.0.attn_q_norm.weight",)), UnsupportedError, "attn_q_norm"),
        (TinyModel(architecture="qwen3"), BrokenFileError, "blk.0.attn_q_norm"),
        (TinyModel(missing_tensors=("blk.1.ffn_up.weight",)), BrokenFileError, "blk.1.ffn_up"),
        (TinyModel(missing_tensors=("token_embd.weight",)), BrokenFileError, "token_embd"),
        (TinyModel(metadata={"llama.expert_count": 8}), UnsupportedError, "8 experts"),
        (TinyModel(metadata={"llama.rope.scaling.type": "other"}), UnsupportedError, "'other'"),
        (TinyModel(metadata={"llama.block_count": 0}), BrokenFileError, "block_count' is 0"),
        (TinyModel(metadata={"llama.block_count": 3}), BrokenFileError, "blk.2"),
        (TinyModel(metadata={"llama.feed_forward_length": 95}), BrokenFileError, "not .95"),
        (TinyModel(metadata={"llama.block_count": "two"}), BrokenFileError, "str, not a int"),
        (TinyModel(metadata={"split.count": 2}), BrokenFileError, "one of 2 parts"),
        (TinyModel(hidden=96, heads=8), UnsupportedError, "ONNX Runtime cannot run"),
        (TinyModel(hidden=48, heads=3, kv_heads=1), UnsupportedError, "48 values"),
    ],
)
def test_what_cannot_be_converted_is_said(
    model: TinyModel,
    error: type[Exception],
    message: str,
    precision: Precision,
    tmp_path: Path,
) -> None:
    gguf = model.write(tmp_path / "m.gguf")
    with pytest.raises(error, match=message):
        converted(gguf, tmp_path, precision)
    assert not (tmp_path / "model" / "inference_model.json").exists()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    gguf = TinyModel().write(tmp_path / "m.gguf")
    data = bytearray(gguf.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    gguf.write_bytes(data)
    with pytest.raises(BrokenFileError, match="not finite"):
        converted(gguf, tmp_path, Precision.INT8)


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
def test_weights_that_overflow_are_refused(precision: Precision, tmp_path: Path) -> None:
    gguf = TinyModel(layers=1).write(tmp_path / "m.gguf")
    with gguf.open("r+b") as file:
        data = bytearray(file.read())
        offset = data.rindex(TinyModel(layers=1).tensors()["blk.0.ffn_up.weight"].tobytes())
        data[offset : offset + 4 * 96 * 64] = np.full(96 * 64, 3e38, np.float32).tobytes()
        file.seek(0)
        file.write(data)
    with pytest.raises(BrokenFileError, match="not finite"):
        converted(gguf, tmp_path, precision)


def converted(gguf: Path, folder: Path, precision: Precision) -> Path:
    target = folder / "model"
    convert(gguf, target, SMOLLM2_135M, precision=precision)
    return target
