"""Models that are made smaller: from floats and from eight bits, whoever built the graph."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.convert.requantize import requantize
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.import_path import import_path
from cupola.cache.install.quantize import quantize
from cupola.cache.precision import Precision
from cupola.cache.quality import read_quality
from tests.cache.convert.plain_graph import Graph
from tests.cache.convert.tiny_family import FAMILIES, TEXTS
from tests.w8a8 import write_w8a8
from tests.workers.reference import PlainDecoder

BUILDER = Path(__file__).parents[2] / "workers" / "data"


def bits(folder: Path) -> dict[str, int]:
    """Of the first layer's products, and of the head."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    return {
        node.name.rpartition("/")[0]: next(each.i for each in node.attribute if each.name == "bits")
        for node in model.graph.node
        if node.op_type == "MatMulNBits" and ("layers.0/" in node.name or "lm_head" in node.name)
    }


@pytest.mark.parametrize(
    ("family", "before", "after", "limit"),
    [
        ("llama", Precision.FP16, Precision.INT4, 0.2),
        ("qwen2", Precision.INT8, Precision.INT4, 0.2),  # its embedding is its head
        ("gemma3", Precision.FP32, Precision.INT8, 0.02),
        ("phi4-mini", Precision.FP16, Precision.INT8, 0.02),
    ],
)
def test_a_model_becomes_smaller_and_says_nearly_the_same(
    family: str, before: Precision, after: Precision, limit: float, tmp_path: Path
) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    convert(FAMILIES[family].write_folder(tmp_path / "s"), source, SMOLLM2_135M, precision=before)
    requantize(source, made, SMOLLM2_135M, after)
    expected, found = Graph(source).logits(TEXTS[1]), Graph(made).logits(TEXTS[1])
    assert np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()) < limit
    assert bits(made)["/model/layers.0/mlp/gate_proj"] == after.bits
    sizes = [(folder / "model.onnx.data").stat().st_size for folder in (source, made)]
    assert sizes[1] < sizes[0]
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (made / name).read_bytes() == (source / name).read_bytes()
    quality = read_quality(made)
    assert quality is not None and quality.kl_divergence is not None
    assert quality.perplexity and quality.perplexity_fp32  # its own, and the source's
    assert {each.name for each in quality.weights} >= {"gate_proj", "down_proj"}


def test_a_graph_of_genais_builder_becomes_smaller(tmp_path: Path) -> None:
    source = BUILDER / "qwen3-fp32"
    shutil.copytree(source, tmp_path / "source")
    shutil.copyfile(BUILDER / "builder-fp32" / "tokenizer.json", tmp_path / "source/tokenizer.json")
    requantize(tmp_path / "source", tmp_path / "made", SMOLLM2_135M, Precision.INT8)
    expected, found = (
        PlainDecoder(folder).logits(list(TEXTS[0])) for folder in (source, tmp_path / "made")
    )
    assert np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()) < 0.02


def test_what_cannot_be_made_smaller_is_said(tmp_path: Path) -> None:
    source = tmp_path / "source"
    convert(
        FAMILIES["llama"].write_folder(tmp_path / "s"),
        source,
        SMOLLM2_135M,
        precision=Precision.INT8,
    )
    with pytest.raises(UnsupportedError, match="no weights of more than 8 bits"):
        requantize(source, tmp_path / "made", SMOLLM2_135M, Precision.INT8)
    (source / "genai_config.json").write_text('{"model": {"decoder": {}}}')
    with pytest.raises(BrokenFileError, match="does not say the sizes"):
        requantize(source, tmp_path / "other", SMOLLM2_135M, Precision.INT4)
    (source / "genai_config.json").write_text("[]")
    with pytest.raises(BrokenFileError, match="holds no object"):
        requantize(source, tmp_path / "other", SMOLLM2_135M, Precision.INT4)


@pytest.mark.parametrize("precision", [Precision.INT4, Precision.INT8])
def test_integer_products_cannot_be_made_smaller(precision: Precision, tmp_path: Path) -> None:
    source = write_w8a8(tmp_path, tied=True)
    bits = precision.bits
    with pytest.raises(UnsupportedError, match=rf"products are of integers.* --bits {bits}\)") as e:
        requantize(source, tmp_path / "made", SMOLLM2_135M, precision)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "made").exists()


def test_a_variant_stands_beside_its_source(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    source = import_path(
        FAMILIES["llama"].write_folder(tmp_path / "tiny").parent,
        home,
        "tiny",
        precision=Precision.FP16,
    )
    made = quantize(source.variant.id, Precision.INT4, home)
    assert made.variant.id == "tiny-int4-cpu:1"
    assert quantize(source.variant.id, Precision.INT4, home).path == made.path
    assert source.path.is_dir()
    assert (made.path / "cupola-digests.json").is_file()
    with pytest.raises(UnsupportedError, match="is that variant already"):
        quantize(made.variant.id, Precision.INT4, home)
    assert not list(home.downloads.glob("*"))
