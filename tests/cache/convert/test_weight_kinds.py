"""What is said about the bits of a model's weights."""

from pathlib import Path

from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.precision import Precision
from cupola.cache.quality import WeightKind, read_quality
from tests.cache.convert.tiny_gguf import TinyModel


def kinds(model: TinyModel, precision: Precision, tmp_path: Path) -> list[WeightKind]:
    gguf = model.write(tmp_path / "m.gguf")
    convert(gguf, tmp_path / "model", SMOLLM2_135M, precision=precision)
    quality = read_quality(tmp_path / "model")
    assert quality is not None
    return quality.weights


def test_each_kind_of_layer_has_its_bits_and_its_source(tmp_path: Path) -> None:
    """Queries, keys and values are 64, 32 and 32 rows; one of two layers' down is Q8_0."""
    others = {"token_embd": Kind.F16, "attn_v": Kind.Q8_0, "blk.1.ffn_down": Kind.Q8_0}
    model = TinyModel(kind=Kind.Q4_0, kinds=others)
    assert kinds(model, Precision.INT4, tmp_path) == [
        WeightKind("lm_head", 8, "F16", 1.0),
        WeightKind("qkv_proj", 4, "Q4_0", 0.75),
        WeightKind("qkv_proj", 8, "Q8_0", 0.25),
        WeightKind("o_proj", 4, "Q4_0", 1.0),
        WeightKind("gate_proj", 4, "Q4_0", 1.0),
        WeightKind("up_proj", 4, "Q4_0", 1.0),
        WeightKind("down_proj", 4, "Q4_0", 0.5),
        WeightKind("down_proj", 8, "Q8_0", 0.5),
    ]


def test_a_file_of_more_bits_keeps_more_where_it_matters(tmp_path: Path) -> None:
    found = kinds(TinyModel(layers=8, kind=Kind.F16), Precision.INT4, tmp_path)
    bits = {(each.name, each.bits): each.share for each in found}
    assert bits == {
        ("lm_head", 8): 1.0,
        ("qkv_proj", 4): 0.5,
        ("qkv_proj", 8): 0.5,
        ("o_proj", 4): 1.0,
        ("gate_proj", 4): 1.0,
        ("up_proj", 4): 1.0,
        ("down_proj", 4): 0.5,
        ("down_proj", 8): 0.5,
    }
