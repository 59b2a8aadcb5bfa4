"""Smoothing changes how a decoder is written down, not what it computes."""

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.quantization.smoothquant import SmoothedWeights
from cupola.cache.convert.sources import read_decoder
from cupola.cache.convert.weights.decoder_weights import ATTENTION_NORM
from tests.cache.convert.plain_graph import written
from tests.cache.convert.quantization.random_inputs import IDS, random_inputs
from tests.cache.convert.tiny_gguf import TinyModel


@pytest.mark.parametrize(
    "model",
    [
        TinyModel(),
        TinyModel(architecture="qwen2", biases=True),
        TinyModel(architecture="qwen3", head_norms=True),
        TinyModel(biases=True),
    ],
)
def test_the_function_stays_the_same(model: TinyModel, tmp_path: Path) -> None:
    family, plain = read_decoder(GgufFile(model.write(tmp_path / "m.gguf")))
    smoothed = SmoothedWeights(plain, random_inputs(plain))
    before = written(family.blocks, plain, tmp_path / "plain").logits(IDS)
    after = written(family.blocks, smoothed, tmp_path / "smoothed").logits(IDS)
    assert not np.array_equal(plain.norm(0, ATTENTION_NORM), smoothed.norm(0, ATTENTION_NORM))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_a_loud_channel_is_made_quieter(tmp_path: Path) -> None:
    _, plain = read_decoder(GgufFile(TinyModel().write(tmp_path / "m.gguf")))
    inputs = random_inputs(plain)
    inputs[0].qkv[:] = 1
    inputs[0].qkv[0, 7] = 1000
    smoothed = SmoothedWeights(plain, inputs)
    factors = plain.norm(0, ATTENTION_NORM) / smoothed.norm(0, ATTENTION_NORM)
    assert factors[7] >= 16 * np.delete(factors, 7).max()
    assert (np.log2(factors) % 1 == 0).all()  # powers of two: exact in floating point
