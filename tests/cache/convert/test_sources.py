"""Which bits an import takes when it is not told."""

from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.sources import has_codes, open_source, stored_precision
from cupola.cache.precision import Precision
from cupola.cache.quality import Quality, WeightKind, read_quality
from tests.cache.convert.tiny_gguf import TinyModel


@pytest.mark.parametrize(
    ("kind", "others", "precision"),
    [
        (Kind.Q4_0, {}, Precision.INT4),
        (Kind.Q4_1, {"token_embd": Kind.Q8_0}, Precision.INT4),
        (Kind.Q4_1, {"attn_v": Kind.Q8_0, "ffn_down": Kind.Q8_0}, Precision.INT4),
        (Kind.Q8_0, {"attn_k": Kind.Q4_0}, Precision.INT8),
        (Kind.Q8_0, {"token_embd": Kind.Q4_0}, Precision.INT8),
        (Kind.Q5_0, {}, Precision.INT8),
        (Kind.F16, {}, Precision.INT8),
        (Kind.TQ1_0, {}, Precision.INT4),
        (Kind.MXFP4, {}, Precision.INT4),
        (Kind.IQ4_NL, {}, Precision.INT8),  # four bits do not hold its levels
        (Kind.IQ4_XS, {"attn_v": Kind.Q4_0}, Precision.INT8),
        (Kind.IQ3_S, {}, Precision.INT8),
        (Kind.IQ2_XXS, {}, Precision.INT8),
        (Kind.Q4_0, {"ffn_down": Kind.IQ4_NL}, Precision.INT4),
    ],
)
def test_most_weights_of_the_layers_decide(
    kind: Kind, others: dict[str, Kind], precision: Precision, tmp_path: Path
) -> None:
    gguf = TinyModel(kind=kind, kinds=others, hidden=256, intermediate=256).write(
        tmp_path / "m.gguf"
    )
    assert stored_precision(GgufFile(gguf)) is precision


@pytest.mark.parametrize(("kind", "coded"), [(Kind.Q4_0, True), (Kind.MXFP4, False)])
def test_types_without_integer_codes_are_rounded(kind: Kind, coded: bool, tmp_path: Path) -> None:
    assert has_codes(GgufFile(TinyModel(kind=kind).write(tmp_path / "m.gguf"))) is coded


def test_a_file_of_few_bits_does_not_grow(tmp_path: Path) -> None:
    """Files of less than four bits become four, not eight."""
    source = TinyModel(kind=Kind.MXFP4, hidden=128, intermediate=256).write(tmp_path / "m.gguf")
    convert(source, tmp_path / "model", SMOLLM2_135M, precision=open_source(source).precision)
    quality = read_quality(tmp_path / "model")
    assert quality is not None
    bits = {each.name: each.bits for each in quality.weights if each.share == 1}
    assert bits["gate_proj"] == bits["up_proj"] == bits["o_proj"] == 4


def test_a_model_that_does_not_speak_is_said_so() -> None:
    kinds = [WeightKind("up_proj", 4, "TQ1_0", 1.0)]
    warning = Quality(perplexity=24135.2, weights=kinds).warning
    assert "gibberish: its perplexity is 24,135. The file has TQ1_0" in warning
    assert "more than a million" in Quality(perplexity=1e30, weights=kinds).warning
    assert not Quality(perplexity=61.0, weights=kinds).warning
    assert not Quality().warning
