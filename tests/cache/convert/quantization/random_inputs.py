"""Made-up inputs of a decoder's layers, some channels much louder than others."""

from __future__ import annotations

import numpy as np

from cupola.cache.convert.quantization.layer_inputs import LayerInputs
from cupola.cache.convert.weights.decoder_weights import DecoderWeights

IDS = [1, 72, 5, 260, 33, 99, 100]


def random_inputs(weights: DecoderWeights) -> list[LayerInputs]:
    random, shape = np.random.default_rng(1), weights.shape
    sizes = (shape.hidden, shape.heads * shape.head_size, shape.hidden, shape.intermediate)
    return [
        LayerInputs(*(np.exp(2 * random.standard_normal((1, size), np.float32)) for size in sizes))
        for _ in range(shape.layers)
    ]
