"""Turning the residual stream changes how a decoder is written down, not what it computes."""

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.architecture import DecoderWeights
from cupola.cache.gguf_file import GgufFile
from cupola.cache.rotated import RotatedWeights
from cupola.cache.rotation import turned
from cupola.cache.smoothing import SmoothedWeights
from tests.cache.test_smoothing import IDS, random_inputs, written
from tests.cache.tiny_gguf import TinyModel


@pytest.mark.parametrize("size", [1, 2, 7, 64, 576])
def test_the_matrix_is_orthogonal_and_even(size: int) -> None:
    matrix = turned(np.eye(size, dtype=np.float32))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-5)
    assert np.abs(matrix).max() <= np.sqrt(2 / size) + 1e-6


@pytest.mark.parametrize(
    "model",
    [
        TinyModel(),
        TinyModel(architecture="qwen2", biases=True),
        TinyModel(architecture="qwen3", head_norms=True),
        TinyModel(tied=False),
    ],
)
def test_the_function_stays_the_same(model: TinyModel, tmp_path: Path) -> None:
    plain = DecoderWeights(GgufFile(model.write(tmp_path / "m.gguf")))
    smoothed = SmoothedWeights(plain, random_inputs(plain))
    before = written(plain, tmp_path / "plain").logits(IDS)
    for number, weights in enumerate((plain, smoothed)):
        after = written(RotatedWeights(weights), tmp_path / f"rotated{number}").logits(IDS)
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


def test_a_matrix_says_what_it_reads(tmp_path: Path) -> None:
    plain = DecoderWeights(GgufFile(TinyModel().write(tmp_path / "m.gguf")))
    seen = random_inputs(plain)
    smoothed = SmoothedWeights(plain, seen)
    rotated = RotatedWeights(smoothed, seen)
    # What smoothing multiplies the weights by, it divides their inputs by.
    before = plain.attention_output(0).whole() @ seen[0].output[0]
    output = rotated.attention_output(0)
    assert output.inputs is not None
    after = output.whole() @ output.inputs[0]
    np.testing.assert_allclose(after, turned(before), rtol=1e-3, atol=1e-4)
