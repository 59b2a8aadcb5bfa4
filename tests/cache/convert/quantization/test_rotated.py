"""Turning what is read changes how a decoder is written down, not what it computes."""

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.convert.architecture import DecoderWeights
from cupola.cache.convert.gguf_file import GgufFile
from cupola.cache.convert.quantization.integer_weights import IntegerWeights
from cupola.cache.convert.quantization.rotated import RotatedWeights
from cupola.cache.convert.quantization.rotation import turned
from cupola.cache.convert.quantization.smoothquant import SmoothedWeights
from tests.cache.convert.quantization.test_smoothquant import IDS, random_inputs, written
from tests.cache.convert.tiny_gguf import TinyModel


@pytest.mark.parametrize("size", [1, 2, 7, 32, 64, 96, 576])
def test_the_matrix_is_orthogonal_and_even(size: int) -> None:
    matrix = turned(np.eye(size, dtype=np.float32), size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-5)
    assert np.abs(matrix).max() <= np.sqrt(2 / size) + 1e-6
    if size & (size - 1) == 0:
        assert np.abs(np.abs(matrix) - 1 / np.sqrt(size)).max() < 1e-6


def test_channels_are_turned_in_blocks() -> None:
    values = np.random.default_rng(0).standard_normal((3, 64), np.float32)
    halves = [turned(half, 32) for half in np.split(values, 2, axis=-1)]
    np.testing.assert_allclose(turned(values, 32), np.concatenate(halves, axis=-1), rtol=1e-6)


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
    seen = random_inputs(plain)
    smoothed = SmoothedWeights(plain, seen)
    before = written(plain, tmp_path / "plain").logits(IDS)
    changed = (RotatedWeights(plain), RotatedWeights(smoothed), IntegerWeights(smoothed, seen))
    for number, weights in enumerate(changed):
        after = written(weights, tmp_path / f"changed{number}").logits(IDS)
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


def test_a_matrix_says_what_it_reads(tmp_path: Path) -> None:
    plain = DecoderWeights(GgufFile(TinyModel().write(tmp_path / "m.gguf")))
    seen = random_inputs(plain)
    smoothed = SmoothedWeights(plain, seen)
    weights = IntegerWeights(smoothed, seen)
    for before, inputs, after in (
        (plain.attention_output(0), seen[0].output, weights.attention_output(0)),
        (plain.down(0), seen[0].down, weights.down(0)),
    ):
        assert after.inputs is not None
        expected = turned(before.whole() @ inputs[0], plain.shape.hidden)
        np.testing.assert_allclose(
            after.whole() @ after.inputs[0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )
