"""A model with an adapter computes what the definition of LoRA says, in each family's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import AdapterFormat, OrtValue

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.convert.sources import open_source
from cupola.cache.convert.weights.lora import read_lora
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.precision import Precision
from tests.cache.convert.family_reference import FamilyReference
from tests.cache.convert.plain_graph import Graph
from tests.cache.convert.tiny_family import FAMILIES, TEXTS
from tests.cache.tiny_adapter import RANK, write_adapter

LAYER = "base_model.model.model.layers.0"


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
# Heads in another order in a GGUF; fused projections; norms around each block.
@pytest.mark.parametrize("name", ["llama", "phi4-mini", "gemma3"])
def test_the_graph_is_the_forward_pass_of_the_merged_weights(
    name: str, kind: str, tmp_path: Path
) -> None:
    family = FAMILIES[name]
    source = (
        family.write_folder(tmp_path / "source")
        if kind == "safetensors"
        else family.write_gguf(tmp_path / "m.gguf")
    )
    merged = write_adapter(tmp_path / "adapter", family.tensors())
    convert(
        source, tmp_path / "model", SMOLLM2_135M,
        precision=Precision.FP32, adapter=tmp_path / "adapter",
    )  # fmt: skip
    found = Graph(tmp_path / "model").logits(TEXTS[1])
    expected = FamilyReference(family.full_config, merged).logits(TEXTS[1])
    plain = FamilyReference(family.full_config, family.tensors()).logits(TEXTS[1])
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(expected - plain).max() > 0.1  # the adapter matters


def test_it_is_merged_before_the_weights_are_rounded(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    merged = write_adapter(tmp_path / "adapter", family.tensors())
    source = family.write_gguf(tmp_path / "m.gguf")
    convert(source, tmp_path / "model", SMOLLM2_135M, adapter=tmp_path / "adapter")
    expected = FamilyReference(family.full_config, merged).logits(TEXTS[1])
    found = Graph(tmp_path / "model").logits(TEXTS[1])
    assert np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()) < 0.06


@pytest.mark.parametrize(
    ("config", "factor"),
    [({"use_rslora": True}, RANK**0.5), ({"alpha_pattern": {"q_proj": 12}}, 2.0)],
)
def test_scales(config: dict[str, Any], factor: float, tmp_path: Path) -> None:
    tensors = FAMILIES["llama"].tensors()
    write_adapter(tmp_path / "plain", tensors)
    write_adapter(tmp_path / "scaled", tensors, config)
    place = (0, "self_attn.q_proj")
    plain, scaled = (read_lora(tmp_path / name)[place].up for name in ("plain", "scaled"))
    np.testing.assert_allclose(scaled, plain * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, {}, "of the kind PROMPT_TUNING"),
        ({"use_dora": True}, {}, "'use_dora'"),
        ({"bias": "all"}, {}, "biases"),
        ({"modules_to_save": ["lm_head"]}, {}, "modules_to_save"),
        ({"r": 8}, {}, "says rank 8 for .* have rank 4"),
        ({"r": 0}, {}, "says rank 0"),
        ({"rank_pattern": {"q_proj": 2}}, {}, r"says rank 2 for self_attn\.q_proj of layer 0"),
        ({}, {"base_model.model.model.embed_tokens.lora_embedding_A": (4, 8)}, "embed_tokens"),
        (
            {},
            {f"{LAYER}.mlp.other.lora_A.weight": (4, 8)},
            "mlp.other .* differ",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(
    config: dict[str, Any], more: dict[str, tuple[int, int]], message: str, tmp_path: Path
) -> None:
    arrays = {name: np.zeros(shape, np.float32) for name, shape in more.items()}
    write_adapter(tmp_path / "adapter", FAMILIES["llama"].tensors(), config, more=arrays)
    with pytest.raises((UnsupportedError, BrokenFileError), match=message):
        read_lora(tmp_path / "adapter")


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", FAMILIES["phi4-mini"].tensors())
    source = FAMILIES["llama"].write_folder(tmp_path / "source")
    with pytest.raises(UnsupportedError, match=r"for another model: its .* of layer 0"):
        open_source(source, tmp_path / "adapter")


def test_the_form_of_onnxruntime(tmp_path: Path) -> None:
    """As the builder writes it: transposed, the scale in the second matrix, other names."""
    write_adapter(tmp_path / "adapter", FAMILIES["llama"].tensors())
    expected = read_lora(tmp_path / "adapter")
    parameters = {}
    for (layer, inside), change in expected.items():
        name = f"model.layers.{layer}.{inside.replace('self_attn', 'attn')}"
        for half, matrix in (("A", change.down), ("B", change.up)):
            value = OrtValue.ortvalue_from_numpy(np.ascontiguousarray(matrix.T))
            parameters[f"{name}.lora_{half}.MatMul.weight"] = value
    made = AdapterFormat()
    made.set_parameters(parameters)
    made.export_adapter(str(tmp_path / "a.onnx_adapter"))
    found = read_lora(tmp_path / "a.onnx_adapter")
    assert found.keys() == expected.keys()
    for place, change in expected.items():
        np.testing.assert_array_equal(found[place].up, change.up)
        np.testing.assert_array_equal(found[place].down, change.down)


def test_a_damaged_file_of_onnxruntime(tmp_path: Path) -> None:
    (tmp_path / "a.onnx_adapter").write_bytes(b"no adapter at all")
    with pytest.raises(BrokenFileError, match="no adapter of onnxruntime"):
        read_lora(tmp_path / "a.onnx_adapter")
