"""``quality.json``: what an import measures, and what is made of the file later."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.convert.formats.weights_file import DATA_FILE
from cupola.cache.precision import Precision
from cupola.cache.quality import QUALITY_FILE, Quality, read_quality
from tests.cache.convert.tiny_gguf import TinyModel

ROUNDED = [precision for precision in Precision if not precision.is_float]
COMPARED = ("perplexity_fp32", "kl_divergence", "same_best_token")


def converted(tmp_path: Path, precision: Precision, **options: Any) -> Path:
    gguf = TinyModel().write(tmp_path / "m.gguf")
    convert(gguf, tmp_path / "model", SMOLLM2_135M, precision=precision, **options)
    return tmp_path / "model"


def quality_of(folder: Path) -> Quality:
    quality = read_quality(folder)
    assert quality is not None
    return quality


@pytest.mark.parametrize("precision", ROUNDED)
def test_every_rounded_model_is_measured(precision: Precision, tmp_path: Path) -> None:
    folder = converted(tmp_path, precision)
    found = quality_of(folder)
    assert found.perplexity and found.perplexity_fp32
    # A random model's perplexity is all but infinite: it is the logarithm that is near.
    exact = math.log(found.perplexity_fp32)
    four_bits = precision is Precision.INT4
    assert math.log(found.perplexity) == pytest.approx(exact, rel=0.3 if four_bits else 0.05)
    assert found.kl_divergence is not None and found.same_best_token is not None
    assert 0 < found.kl_divergence < (5 if four_bits else 0.05)
    assert found.same_best_token > (0.2 if four_bits else 0.8)
    sizes = [(folder / name).stat().st_size for name in ("model.onnx", DATA_FILE)]
    assert found.size_bytes == sum(sizes)
    assert found.tokens_per_second_1 and found.tokens_per_second_16


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_floats_have_none(precision: Precision, tmp_path: Path) -> None:
    assert not (converted(tmp_path, precision) / QUALITY_FILE).exists()


def test_a_large_model_is_not_compared(tmp_path: Path) -> None:
    found = quality_of(converted(tmp_path, Precision.INT8, max_compared_bytes=100_000))
    assert found.perplexity and found.size_bytes and found.tokens_per_second_16
    assert [getattr(found, name) for name in COMPARED] == [None] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("real_model_int8", 0.005),
        ("real_model_int4", 0.006),
        ("real_model_w8a8", 0.012),
    ],
)
def test_the_real_models_quality(model: str, limit: float, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(model)
    found = quality_of(folder)
    print(folder.name, found)
    assert found.perplexity is not None and found.kl_divergence is not None
    assert found.perplexity == pytest.approx(found.perplexity_fp32, rel=0.02)
    assert found.kl_divergence < limit


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"perplexity": "low"}',
        b'{"perplexity": 18.1, "perplexity_fp32": 0}',
        b'{"perplexity": NaN}',
        b'{"x": ' + b"[" * 60_000,
        b'{"x": "' + b"y" * 100_000 + b'"}',
    ],
)
def test_a_damaged_file_says_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / QUALITY_FILE).write_bytes(content)
    assert read_quality(tmp_path) is None


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert read_quality(tmp_path) is None
    (tmp_path / QUALITY_FILE).mkdir()
    assert read_quality(tmp_path) is None


def test_an_older_file_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / QUALITY_FILE).write_bytes(b'{"kl_divergence": 0.007, "of_another_time": 1}')
    assert read_quality(tmp_path) == Quality(kl_divergence=0.007)


def test_what_is_infinite_is_not_said(tmp_path: Path) -> None:
    (tmp_path / QUALITY_FILE).write_bytes(Quality(perplexity=math.inf, tokens=3).encoded())
    assert read_quality(tmp_path) == Quality(tokens=3)
