"""Converted graphs of four bits, whose products also read the means of blocks, are served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from gguf.constants import GGMLQuantizationType as Kind

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.convert.convert import convert
from cupola.cache.precision import Precision
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from tests.cache.convert.plain_graph import Graph, log_softmax
from tests.cache.convert.tiny_gguf import TinyModel

TOKENS = [1, 72, 5, 260, 33, 99, 100, 101, 2, 17, 200, 201]
OTHERS = [44, 3, 120]

MODELS = {
    "Q4_0": TinyModel(kind=Kind.Q4_0),
    "Q4_1": TinyModel(kind=Kind.Q4_1, tied=False),
    "Q4_1, head norms": TinyModel(
        architecture="qwen3", head_norms=True, head_size=32, kind=Kind.Q4_1
    ),
    "Q4_K with Q8_0": TinyModel(
        kind=Kind.Q4_K,
        kinds={"attn_v": Kind.Q8_0, "blk.1.ffn_down": Kind.Q8_0},
        hidden=256,
        intermediate=512,
    ),
    "rounded": TinyModel(layers=8, kind=Kind.F16),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_rows_beside_others_are_as_in_the_plain_graph(model: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    convert(model.write(tmp_path / "m.gguf"), folder, SMOLLM2_135M, precision=Precision.INT4)
    expected = log_softmax(Graph(folder).logits(TOKENS))
    session = DecoderSession(ModelFolder.read(folder), slots=3, width=16, threads=1)
    session.run([Row(0, 0, OTHERS, 0), Row(1, 0, TOKENS[:5], 0)])
    rows = [Row(2, 0, OTHERS, 0), Row(1, 5, TOKENS[5:], 7), Row(0, 3, [9], 0)]
    found = log_softmax(np.asarray(session.run(rows)))
    assert divergence(expected[5:], found).max() < 1e-3


def divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Kullback-Leibler, of each row, from logarithms of probabilities."""
    found: npt.NDArray[np.float64] = (np.exp(p) * (p - q)).sum(-1)
    return found
