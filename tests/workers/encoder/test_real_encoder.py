"""all-MiniLM-L6-v2 as it is served, against NumPy, and as a model of meaning.

``pytest -rP`` prints what is measured.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer

from cupola.cache.convert.weights.encoder_shape import EncoderShape
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Embed, LocalModel, Text
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import Backend, RequestError
from tests.cache.convert.encoder_reference import EncoderReference

pytestmark = pytest.mark.slow

ALICE = (Path(__file__).parents[3] / "loadtests" / "load" / "alice.txt").read_text()
TEXTS = [
    "The cat sits on the mat.",
    "A feline rests on a rug.",
    "Interest rates rose by a quarter of a point.",
    "Zażółć gęślą jaźń — 你好世界",
    "x",
    *(ALICE[start : start + 40 * size] for size, start in enumerate(range(100, 9000, 1500), 1)),
]


@pytest.fixture(scope="module")
def backend(real_encoder: Home) -> Backend:
    model = ModelCache(real_encoder).find("all-minilm-l6-v2")
    local = LocalModel(model.variant.id, str(model.path), model.variant.provider)
    return load(local, EngineOptions(threads=1))


def embed(backend: Backend, texts: list[str], truncate: bool = False) -> np.ndarray:
    backend.add("r", Embed(tuple(map(Text, texts)), truncate=truncate))
    made: dict[int, np.ndarray] = {}
    while backend.busy:
        for output in backend.step():
            assert isinstance(output, Output)
            made[output.index] = np.frombuffer(output.embedding, "<f4")
    return np.stack([made[index] for index in range(len(texts))])


def test_vectors_agree_with_numpys(backend: Backend, real_encoder_weights: Path) -> None:
    folder = real_encoder_weights.parent
    shape = msgspec.json.decode((folder / "config.json").read_bytes(), type=EncoderShape)
    reference = EncoderReference(real_encoder_weights, shape)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    cosines = []
    for text, made in zip(TEXTS, embed(backend, TEXTS), strict=True):
        mean = reference.hidden(tokenizer.encode(text).ids).mean(axis=0)
        cosines.append(float(made @ mean / np.linalg.norm(mean)))
        assert np.linalg.norm(made) == pytest.approx(1, abs=1e-5)
    print(f"cosine with NumPy over {len(cosines)} texts: at least {min(cosines):.7f}")
    assert min(cosines) >= 0.99999


def test_near_in_meaning_is_near(backend: Backend) -> None:
    cat, feline, rates = embed(backend, TEXTS[:3])
    assert cat @ feline > 0.5 > cat @ rates


def test_the_makers_limit_holds(backend: Backend) -> None:
    with pytest.raises(RequestError, match="reads 256 at most"):
        embed(backend, [ALICE[:5000]])
    assert embed(backend, [ALICE[:5000]], truncate=True).shape == (1, 384)
