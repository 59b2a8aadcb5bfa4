"""Models on a GPU: each of the tests' models answers there as it does by the plainest means."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.workers.device.device import Device
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.run.packing import Row
from cupola.workers.run.paged_session import PagedSession
from tests.workers.reference import DATA, PlainDecoder

TOKENS, OTHERS = [7, 81, 200, 13, 5], [44, 3, 120]
pytestmark = pytest.mark.skipif(
    ExecutionProvider.CUDA not in ort.get_available_providers(),
    reason="needs onnxruntime-gpu and a GPU; graph/test_paged_graph.py runs the graphs in NumPy",
)


@pytest.mark.parametrize("name", ["builder-fp32", "builder-int4", "qwen3-fp32", "gemma2-fp32"])
def test_a_model_on_a_gpu_answers_as_the_plain_one(name: str):
    folder = ModelFolder.read(DATA / name)
    device = Device(ExecutionProvider.CUDA)
    model = PagedSession(folder, slots=3, threads=1, device=device, cache_bytes=2**20)
    model.run([Row(0, 0, OTHERS, 0), Row(1, 0, TOKENS[:2], 0)])
    found = model.run([Row(2, 0, OTHERS, 0), Row(1, 2, TOKENS[2:], 1), Row(0, 3, [9], 1)])
    plain = PlainDecoder(DATA / name)
    expected = [plain.logits(TOKENS), plain.logits([*OTHERS, 9])]
    np.testing.assert_allclose(found, expected, atol=0.05)
