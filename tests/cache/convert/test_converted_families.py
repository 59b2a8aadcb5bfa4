"""Each family, from safetensors and from a GGUF, computes what its makers' code does.

``data/families.json`` has the logits of transformers for the same random models. The NumPy forward
pass is checked against them, and the graphs against the forward pass at all positions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.convert.families import FAMILIES as FAMILY_RECORDS
from cupola.cache.convert.families import family_of_config
from cupola.cache.convert.formats.json_file import JsonObject
from cupola.cache.convert.sources import open_source
from cupola.cache.convert.weights.config_shape import config_shape
from cupola.cache.convert.weights.decoder_shape import Traits
from cupola.cache.errors import BrokenFileError, ModelFileError, UnsupportedError
from cupola.cache.precision import Precision
from tests.cache.convert.family_reference import FamilyReference
from tests.cache.convert.plain_graph import Graph
from tests.cache.convert.tiny_family import FAMILIES, TEXTS, TinyFamily

FIXTURE = Path(__file__).parents[1] / "data" / "families.json"


def reference(family: TinyFamily) -> FamilyReference:
    return FamilyReference(family.full_config, family.tensors())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_forward_pass_is_that_of_transformers(name: str) -> None:
    for ids, expected in zip(TEXTS, json.loads(FIXTURE.read_text())[name], strict=True):
        found = reference(FAMILIES[name]).logits(ids)[-1, : len(expected)]
        np.testing.assert_allclose(found, expected, atol=5e-5)


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_is_the_forward_pass(name: str, kind: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    source = (
        family.write_folder(tmp_path / "source")
        if kind == "safetensors"
        else family.write_gguf(tmp_path / "m.gguf")
    )
    convert(source, tmp_path / "model", SMOLLM2_135M, precision=Precision.FP32)
    graph = Graph(tmp_path / "model")
    for ids in TEXTS:
        np.testing.assert_allclose(graph.logits(ids), reference(family).logits(ids), atol=1e-4)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("gemma2", "gemma3")])
def test_integer_products_are_near(name: str, large: bool, tmp_path: Path) -> None:
    """``large``: nothing is written in float32, as of a model that takes gigabytes so."""
    family = FAMILIES[name]
    source = family.write_gguf(tmp_path / "m.gguf")
    size = 0 if large else 2**30
    model = tmp_path / "model"
    convert(source, model, SMOLLM2_135M, precision=Precision.W8A8, max_compared_bytes=size)
    expected = reference(family).logits(TEXTS[1])
    found = Graph(model).logits(TEXTS[1])
    assert np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()) < 0.04


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_norms_behind_a_block_rule_out_integer_products(name: str, tmp_path: Path) -> None:
    source = FAMILIES[name].write_gguf(tmp_path / "m.gguf")
    with pytest.raises(UnsupportedError, match="choose another precision"):
        convert(source, tmp_path / "model", SMOLLM2_135M, precision=Precision.W8A8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3", "phi4-mini", "granite"])
@pytest.mark.parametrize(("precision", "limit"), [(Precision.INT8, 0.03), (Precision.INT4, 0.25)])
def test_rounded_weights_are_near(
    name: str, precision: Precision, limit: float, tmp_path: Path
) -> None:
    family = FAMILIES[name]
    source = family.write_folder(tmp_path / "source", parts=3)
    convert(source, tmp_path / "model", SMOLLM2_135M, precision=precision)
    expected = reference(family).logits(TEXTS[1])
    found = Graph(tmp_path / "model").logits(TEXTS[1])
    assert np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()) < limit


NEW_FORM: dict[str, dict[str, Any]] = {
    "phi4-mini": {
        "rope_parameters": {
            **FAMILIES["phi4-mini"].config["rope_scaling"],
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "original_max_position_embeddings": 8,
        }
    },
    "llama3": {
        "rope_parameters": {
            **FAMILIES["llama3"].config["rope_scaling"],
            "rope_theta": 10000.0,
        }
    },
    "gemma3": {
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
}
MOVED = (
    "rope_theta",
    "rope_scaling",
    "rope_local_base_freq",
    "sliding_window_pattern",
    "original_max_position_embeddings",
    "partial_rotary_factor",
)


@pytest.mark.parametrize("name", NEW_FORM)
def test_both_forms_of_the_configuration_mean_the_same(name: str) -> None:
    traits = FAMILY_RECORDS["gemma3" if name == "gemma3" else "llama"].traits
    old = FAMILIES[name].full_config
    new = {key: value for key, value in old.items() if key not in MOVED} | NEW_FORM[name]
    shapes = [config_shape(JsonObject("config.json", each), traits) for each in (old, new)]
    assert shapes[0].attentions == shapes[1].attentions
    for rope in shapes[0].ropes:
        one, other = (shape.ropes[rope] for shape in shapes)
        np.testing.assert_allclose(one.frequencies, other.frequencies)
        assert (one.amplitude, one.short_context) == (other.amplitude, other.short_context)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"sliding_window": 4, "use_sliding_window": False}, [0, 0, 0]),
        ({"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1}, [0, 4, 4]),
        ({"sliding_window": None}, [0, 0, 0]),
        ({"sliding_window": 4}, [4, 4, 4]),
        ({"sliding_window": 64}, [0, 0, 0]),  # the context is as long
    ],
)
def test_windows_are_where_the_configuration_has_them(
    config: dict[str, Any], layers: list[int]
) -> None:
    whole = TinyFamily("qwen2", layers=3).full_config | config
    shape = config_shape(JsonObject("config.json", whole), Traits())
    assert [each.window for each in shape.attentions] == layers


REFUSED = [
    ({"model_type": "qwen3_5"}, UnsupportedError, "linear attention.*can be converted"),
    ({"model_type": "gemma4"}, UnsupportedError, "different sizes.*can be converted"),
    ({"model_type": "lfm2"}, UnsupportedError, "short convolutions"),
    ({"model_type": "granitemoehybrid"}, UnsupportedError, "Mamba-2"),
    ({"model_type": "gpt_oss"}, UnsupportedError, "mixture of experts"),
    (
        {"model_type": "brand_new"},
        UnsupportedError,
        "'brand_new'; these can be converted: gemma, gemma2",
    ),
    ({"model_type": "gemma3", "vision_config": {}}, UnsupportedError, "also reads images"),
    ({"model_type": 3}, BrokenFileError, "'model_type' is a int"),
    ({"hidden_act": "relu2"}, UnsupportedError, "'relu2'"),
    ({"hidden_act": "gelu_pytorch_tanh"}, UnsupportedError, "'gelu_pytorch_tanh'"),
    ({"use_bidirectional_attention": True}, UnsupportedError, "see those behind them"),
    ({"num_hidden_layers": 10**9}, BrokenFileError, "num_hidden_layers"),
    ({"num_attention_heads": 0}, BrokenFileError, "heads is 0"),
    ({"num_key_value_heads": 3}, UnsupportedError, "do not divide"),
    ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, UnsupportedError, "'dynamic'"),
    ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, BrokenFileError, "'factor' is 0"),
    ({"rope_theta": "big"}, BrokenFileError, "'rope_theta' is a str"),
    ({"layer_types": ["linear_attention"] * 2}, UnsupportedError, "linear_attention"),
    ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedError, "quantized .gptq"),
    ({"vocab_size": 300}, BrokenFileError, "not .300, 64"),
    ({"vocab_size": 7}, BrokenFileError, "embedding of 7 rows"),
    ({"intermediate_size": 64}, BrokenFileError, "mlp.gate_proj.weight' has the shape"),
    ({"num_hidden_layers": 1}, UnsupportedError, "no use for: model.layers.1"),
    ({"num_hidden_layers": 3}, BrokenFileError, "lacks the tensor 'model.layers.2"),
]


@pytest.mark.parametrize(("config", "error", "message"), REFUSED)
def test_what_cannot_be_converted_is_said_in_one_line(
    config: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    source = TinyFamily("llama", config).write_folder(tmp_path / "source")
    with pytest.raises(error, match=message) as raised:
        convert(source, tmp_path / "model", SMOLLM2_135M, precision=Precision.FP32)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "model" / "inference_model.json").exists()


def test_a_head_beside_a_tied_embedding_is_not_read(tmp_path: Path) -> None:
    family = TinyFamily("qwen2", {"tie_word_embeddings": True}, biases=True)  # with lm_head.weight
    convert(
        family.write_folder(tmp_path / "s"),
        tmp_path / "m",
        SMOLLM2_135M,
        precision=Precision.FP32,
    )
    tied = {name: each for name, each in family.tensors().items() if name != "lm_head.weight"}
    expected = FamilyReference(family.full_config, tied).logits(TEXTS[0])
    np.testing.assert_allclose(Graph(tmp_path / "m").logits(TEXTS[0]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "../a.safetensors"}}, "no file beside it"),
        ({"weight_map": {"a": "/etc/passwd"}}, "no file beside it"),
        ({"weight_map": {"a": "b.safetensors"}}, "b.safetensors is missing"),
        ({"weight_map": {}}, "names 0 files"),
        ({}, "lacks 'weight_map'"),
    ],
)
def test_an_index_names_only_files_beside_it(
    index: dict[str, object], message: str, tmp_path: Path
) -> None:
    source = TinyFamily("llama").write_folder(tmp_path / "source")
    (source.parent / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BrokenFileError, match=message):
        open_source(source)


def test_the_tokenizer_stays_as_its_makers_published_it(tmp_path: Path) -> None:
    source = TinyFamily("llama").write_folder(tmp_path / "source")
    (source.parent / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    (source.parent / "chat_template.jinja").write_text("{{ messages }}")
    tokenizer = open_source(source).tokenizer
    assert tokenizer.tokenizer_json() == json.loads((source.parent / "tokenizer.json").read_text())
    assert (tokenizer.bos, tokenizer.pad, tokenizer.ends) == (1, 0, [0, 2])
    assert tokenizer.chat_template == "{{ messages }}"
    (source.parent / "chat_template.jinja").unlink()
    (source.parent / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": [{"name": "default", "template": "{{ 1 }}"}]})
    )
    assert open_source(source).tokenizer.chat_template == "{{ 1 }}"


ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 7, 1 << 40, 1 << 70, -0.5, 0.0, 1e-300, 1e300),
    *("", "llama3", [], [None], [0, 1], ["full_attention"] * 2, {}, {"rope_type": 3}),
    {"rope_type": "llama3"},
    {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1},
    {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [0.0] * 8},
    {"rope_type": "linear", "factor": 1e-320},
    {"full_attention": 3, "sliding_attention": {}},
)
FURTHER = ("layer_types", "rope_parameters", "attention_factor", "no_rope_layers", "head_dim")


@pytest.mark.parametrize("name", FAMILIES)
def test_no_value_of_the_configuration_leads_to_another_error(name: str) -> None:
    config = FAMILIES[name].full_config
    for key in (*config, *FURTHER):
        for value in ODD:
            changed = JsonObject("config.json", config | {key: value})
            try:
                shape = config_shape(changed, family_of_config(changed).traits)
                assert all(rope.is_finite for rope in shape.ropes.values())
            except ModelFileError as error:
                assert "\n" not in str(error), (key, value)
