"""Whispers that onnxruntime-genai's builder has made: what is read of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import helper, numpy_helper

from cupola.cache.catalog import ALL_MINILM_L6_V2
from cupola.cache.convert.formats.onnx_weights import OnnxWeights
from cupola.cache.convert.whisper.builder_weights import BuilderWeights
from cupola.cache.convert.whisper.convert_whisper import convert_whisper
from cupola.cache.convert.whisper.suppressed_tokens import suppressed_tokens
from cupola.cache.errors import BrokenFileError, ModelFileError, UnsupportedError
from cupola.cache.precision import Precision
from tests.built_whisper import BLOCK, Float, blocks, packed, write_built
from tests.tiny_whisper import END, SHAPE, Values, values, write_hugging_face, write_tokenizer

INT8 = replace(ALL_MINILM_L6_V2, precision=Precision.INT8)
OUTPUTS = ("encoder.onnx", "encoder.onnx.data", "decoder.onnx", "decoder.onnx.data")
TOKENS = "model.decoder.embed_tokens.weight"


@pytest.fixture(scope="module")
def made() -> Values:
    """Weights that 16 bits hold."""
    return {name: each.astype(np.float16).astype(np.float32) for name, each in values().items()}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return write_built(tmp_path / "built").parent


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_the_model_is_that_of_the_safetensors(
    tmp_path: Path, made: Values, kind: type[Float]
) -> None:
    config = write_built(tmp_path / "built", made, kind)
    convert_whisper(config, tmp_path / "of-built", INT8)
    convert_whisper(write_hugging_face(tmp_path / "hf", made), tmp_path / "of-hf", INT8)
    for name in OUTPUTS:
        assert (tmp_path / "of-built" / name).read_bytes() == (
            tmp_path / "of-hf" / name
        ).read_bytes()


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_become_the_floats_that_they_mean(tmp_path: Path, made: Values, bits: int) -> None:
    weights = BuilderWeights(write_built(tmp_path, made, bits=bits).parent)

    def rounded(name: str, bits: int = bits) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        codes, scales = blocks(made[name], bits)
        return (codes.astype(np.float32) - (1 << (bits - 1))) * scales.repeat(BLOCK, axis=1)

    assert weights.shape == SHAPE
    at = "model.decoder.layers.1"
    np.testing.assert_array_equal(
        weights.product("decoder.1", "fc2")[0], rounded(f"{at}.fc2.weight")
    )
    keys, shift = weights.product("decoder.1", "cross_kv")
    names = [f"{at}.encoder_attn.{part}.weight" for part in ("k_proj", "v_proj")]
    np.testing.assert_array_equal(keys, np.concatenate([rounded(name) for name in names]))
    assert not shift[: SHAPE.d_model].any()
    np.testing.assert_array_equal(weights.head(), rounded(TOKENS))
    np.testing.assert_array_equal(weights.tokens(), rounded(TOKENS) if bits == 4 else made[TOKENS])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [BLOCK, 3 * BLOCK])
def test_zero_points_of_blocks(tmp_path: Path, bits: int, columns: int) -> None:
    random = np.random.default_rng(bits)
    codes = random.integers(0, 1 << bits, (5, columns), np.uint8)
    zeros = random.integers(0, 1 << bits, (5, columns // BLOCK), np.uint8)
    scales = random.uniform(0.1, 1, zeros.shape).astype(np.float32)
    even = np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2 if bits == 4 else 0)))
    arrays = {"codes": packed(codes, bits), "scales": scales, "zeros": packed(even, bits)}
    node = helper.make_node(
        "MatMulNBits", ["x", *arrays], ["y"], "/at/MatMul", N=5, K=columns, bits=bits
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", [], [], tensors)), tmp_path / "g.onnx"
    )
    spread = [each.astype(np.float32).repeat(BLOCK, axis=1) for each in (zeros, scales)]
    found = OnnxWeights(tmp_path / "g.onnx").product("/at")
    np.testing.assert_allclose(found, (codes - spread[0]) * spread[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx.data", "tokenizer.json"])
def test_a_file_that_is_missing_is_named(built: Path, tmp_path: Path, name: str) -> None:
    (built / name).unlink()
    with pytest.raises(BrokenFileError, match=name):
        convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.onnx.data", "decoder.onnx.data"])
@pytest.mark.parametrize("share", [0.01, 0.9])
def test_a_cut_file_is_refused(built: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (built / name).read_bytes()
    (built / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(BrokenFileError):
        convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("encoder", "filename", "../encoder.onnx"),
        ("decoder", "filename", "/etc/passwd"),
        ("decoder", "num_attention_heads", 7),
        ("decoder", "num_attention_heads", None),
    ],
)
def test_a_configuration_that_cannot_be(
    built: Path, tmp_path: Path, section: str, key: str, value: object
) -> None:
    config = json.loads((built / "genai_config.json").read_text())
    config["model"][section][key] = value
    (built / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=str(value) if value else key):
        convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)


def test_data_outside_the_folder_is_not_read(built: Path, tmp_path: Path) -> None:
    model = onnx.load(built / "decoder.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../decoder.onnx.data"
    (built / "decoder.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="outside the folder"):
        convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)


@pytest.mark.parametrize(
    ("node", "error", "text"),
    [
        ("/model/layers.0/mlp/fc2/MatMul", BrokenFileError, "fc2"),
        ("/model/layers.1/cross_attn/o_proj/MatMul", BrokenFileError, "cross_attn"),
        ("/model/preprocessing/Gather_1", BrokenFileError, "input_ids"),
        ("/lm_head/MatMul", UnsupportedError, "as it was published"),
    ],
)
def test_a_graph_of_other_nodes(
    built: Path, tmp_path: Path, node: str, error: type[Exception], text: str
) -> None:
    model = onnx.load(built / "decoder.onnx", load_external_data=False)
    kept = [each for each in model.graph.node if each.name != node]
    assert len(kept) == len(model.graph.node) - 1
    del model.graph.node[:]
    model.graph.node.extend(kept)
    (built / "decoder.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(error, match=text):
        convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)


def test_tokens_are_suppressed_where_nobody_says_which(built: Path, tmp_path: Path) -> None:
    convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)
    found = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert found == suppressed_tokens(built / "tokenizer.json")
    assert ord("#") - ord("!") in found["suppress_tokens"]  # the alphabet begins with "!"
    assert END + 1 in found["suppress_tokens"]  # <|startoftranscript|>
    assert END in found["begin_suppress_tokens"]


def test_what_the_makers_say_is_kept(built: Path, tmp_path: Path) -> None:
    said = {"suppress_tokens": [7], "alignment_heads": [[1, 0]]}
    (built / "generation_config.json").write_text(json.dumps(said))
    convert_whisper(built / "genai_config.json", tmp_path / "model", INT8)
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text()) == said


@pytest.mark.parametrize("content", [b"", b"{", b"{}"])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BrokenFileError, match=r"tokenizer\.json"):
        suppressed_tokens(tmp_path / "tokenizer.json")


def test_the_suppressed_tokens_are_those_that_whisper_has(real_whisper_weights: Path) -> None:
    folder = real_whisper_weights.parent
    said = json.loads((folder / "config.json").read_text())
    found = suppressed_tokens(folder / "tokenizer.json")
    assert found["suppress_tokens"] == sorted(said["suppress_ids"])
    assert found["begin_suppress_tokens"] == said["suppress_ids_begin"]
