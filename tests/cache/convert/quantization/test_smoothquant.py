"""Smoothing changes how a decoder is written down, not what it computes."""

from pathlib import Path

import numpy as np
import pytest

from cupola.cache.convert.architecture import DecoderWeights
from cupola.cache.convert.decoder_graph import DecoderGraph
from cupola.cache.convert.gguf_file import GgufFile
from cupola.cache.convert.initializers import Initializers
from cupola.cache.convert.quantization.smoothquant import LayerInputs, SmoothedWeights
from cupola.cache.convert.weights_file import DATA_FILE, WeightsFile
from cupola.cache.precision import Precision
from tests.cache.convert.graph import Graph
from tests.cache.convert.tiny_gguf import TinyModel

IDS = [1, 72, 5, 260, 33, 99, 100]


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
    plain = DecoderWeights(GgufFile(model.write(tmp_path / "m.gguf")))
    smoothed = SmoothedWeights(plain, random_inputs(plain))
    before = written(plain, tmp_path / "plain").logits(IDS)
    after = written(smoothed, tmp_path / "smoothed").logits(IDS)
    assert not np.array_equal(plain.norm(0, "attn"), smoothed.norm(0, "attn"))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_a_loud_channel_is_made_quieter(tmp_path: Path) -> None:
    plain = DecoderWeights(GgufFile(TinyModel().write(tmp_path / "m.gguf")))
    inputs = random_inputs(plain)
    inputs[0].qkv[:] = 1
    inputs[0].qkv[0, 7] = 1000
    factors = plain.norm(0, "attn") / SmoothedWeights(plain, inputs).norm(0, "attn")
    assert factors[7] >= 16 * np.delete(factors, 7).max()
    assert (np.log2(factors) % 1 == 0).all()  # powers of two: exact in floating point


def random_inputs(weights: DecoderWeights) -> list[LayerInputs]:
    random, shape = np.random.default_rng(1), weights.shape
    sizes = (shape.hidden, shape.heads * shape.head_size, shape.hidden, shape.intermediate)
    return [
        LayerInputs(*(np.exp(2 * random.standard_normal((1, size), np.float32)) for size in sizes))
        for _ in range(shape.layers)
    ]


def written(weights: DecoderWeights, folder: Path) -> Graph:
    folder.mkdir()
    with WeightsFile(folder / DATA_FILE) as data:
        stored = Initializers(data, Precision.FP32, lambda size: None)
        model = DecoderGraph(weights, stored).build()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return Graph(folder)
