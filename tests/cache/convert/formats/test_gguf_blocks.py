"""Blocks that are taken apart have the weights that ``gguf`` reads."""

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.convert.formats.gguf_blocks import CODINGS, MIDDLE, coded_rows
from tests.cache.convert.k_quants import quantize_q4_k


@given(kind=st.sampled_from(sorted(CODINGS)), rows=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_weights_are_those_that_gguf_reads(
    kind: GGMLQuantizationType, rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    size, block_bytes = GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (rows, 2 * block_bytes), np.uint8)
    with np.errstate(all="ignore"):
        expected = dequantize(data, kind)
    if not np.isfinite(expected).all():  # a scale that is no number
        return
    found = coded_rows(data, kind)
    coding = CODINGS[kind]
    assert found.codes.shape == (rows, 2 * size)
    assert found.codes.max() <= 15
    assert found.scales.shape == found.offsets.shape == (rows, 2 * size // coding.block)
    if coding.symmetric:
        np.testing.assert_array_equal(found.offsets, -MIDDLE * found.scales)
    codes = found.codes.reshape(*found.scales.shape, coding.block)
    weights = codes * found.scales[..., None] + found.offsets[..., None]
    largest = np.abs(found.scales).max() * 16 + np.abs(found.offsets).max()
    np.testing.assert_allclose(weights.reshape(rows, -1), expected, rtol=0, atol=largest * 1e-6)


def test_the_tests_own_q4_k_is_near_what_it_was_made_of() -> None:
    rows = np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32)
    restored = dequantize(quantize_q4_k(rows), GGMLQuantizationType.Q4_K)
    assert np.sqrt(((restored - rows) ** 2).mean()) < 0.1


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q5_0, GGMLQuantizationType.IQ4_NL])
def test_other_types_have_no_coding(kind: GGMLQuantizationType) -> None:
    assert kind not in CODINGS
