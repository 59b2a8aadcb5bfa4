"""A rotation changes how a decoder is written down, not what it computes."""

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.quantization.integer_weights import IntegerWeights
from cupola.cache.convert.quantization.rotated_weights import RotatedWeights
from cupola.cache.convert.quantization.smoothquant import SmoothedWeights
from cupola.cache.convert.sources import read_decoder
from cupola.cache.convert.weights.decoder_weights import ATTENTION_NORM, Projection
from cupola.cache.convert.weights.rotation import rotate
from cupola.cache.errors import UnsupportedError
from tests.cache.convert.plain_graph import written
from tests.cache.convert.quantization.random_inputs import IDS, random_inputs
from tests.cache.convert.tiny_gguf import TinyModel


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
    family, plain = read_decoder(GgufFile(model.write(tmp_path / "m.gguf")))
    seen = random_inputs(plain)
    smoothed = SmoothedWeights(plain, seen)
    before = written(family.blocks, plain, tmp_path / "plain").logits(IDS)
    rotated = RotatedWeights(smoothed)
    changed = (RotatedWeights(plain), rotated, IntegerWeights(rotated, seen))
    for number, weights in enumerate(changed):
        after = written(family.blocks, weights, tmp_path / f"changed{number}").logits(IDS)
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


def test_a_matrix_says_what_it_reads(tmp_path: Path) -> None:
    _, plain = read_decoder(GgufFile(TinyModel().write(tmp_path / "m.gguf")))
    seen = random_inputs(plain)
    smoothed = SmoothedWeights(plain, seen)
    weights = IntegerWeights(RotatedWeights(smoothed), seen)
    for which, inputs in ((Projection.OUTPUT, seen[0].output), (Projection.DOWN, seen[0].down)):
        before, after = plain.projection(0, which), weights.projection(0, which)
        assert after.inputs is not None
        expected = rotate(before.whole() @ inputs[0], plain.shape.hidden)
        np.testing.assert_allclose(
            after.whole() @ after.inputs[0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )


def test_a_norm_that_no_projection_takes_in_is_refused(tmp_path: Path) -> None:
    _, plain = read_decoder(GgufFile(TinyModel().write(tmp_path / "m.gguf")))
    rotated = RotatedWeights(plain)
    assert (rotated.norm(0, ATTENTION_NORM) == 1).all()
    with pytest.raises(UnsupportedError, match="post_attention_norm"):
        rotated.norm(0, "post_attention_norm")
