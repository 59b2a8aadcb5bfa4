"""Scores of pairs of texts, by a tiny cross-encoder: against NumPy, in shared runs, and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cupola.cache.catalog import ALL_MINILM_L6_V2, ExecutionProvider
from cupola.cache.convert.encoder import convert_encoder
from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    Embed,
    LocalModel,
    Option,
    Question,
    QuestionKind,
    Text,
    Tokens,
)
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import Backend, RequestError
from tests.cache.convert.encoder_reference import EncoderReference
from tests.tiny_encoder import SHAPE, tokenizer, write_ranker

QUERY = "the cat"
DOCUMENTS = ["a dog ran", "the cat sat on the mat", "far away"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranker")
    convert_encoder(write_ranker(folder / "source"), folder / "model", ALL_MINILM_L6_V2)
    return folder


@pytest.fixture(scope="module")
def backend(folder: Path) -> Backend:
    model = LocalModel("m:1", str(folder / "model"), ExecutionProvider.CPU)
    return load(model, EngineOptions())


def pairs(*documents: str, query: str = QUERY) -> Embed:
    return Embed((Text(query),) * len(documents), seconds=documents)


def scores(backend: Backend, *tasks: Embed) -> list[list[float]]:
    """Of each task, in the order of its pairs."""
    for number, task in enumerate(tasks):
        backend.add(str(number), task)
    outputs: list[Any] = []
    while backend.busy:
        outputs += backend.step()
    found: list[list[float]] = [[] for _ in tasks]
    for output in sorted(outputs, key=lambda each: each.index):
        found[int(output.request_id)] += np.frombuffer(output.embedding, "<f4").tolist()
    return found


def test_scores_are_numpys_alone_and_beside_others(backend: Backend, folder: Path) -> None:
    reference = EncoderReference(folder / "source" / "model.safetensors", SHAPE, "bert.")
    plain = tokenizer()
    plain.no_truncation()
    plain.no_padding()
    read = [plain.encode(QUERY, document) for document in DOCUMENTS]
    expected = [reference.score(each.ids, each.type_ids) for each in read]
    together, alone = scores(backend, pairs(*DOCUMENTS), pairs(DOCUMENTS[1]))
    np.testing.assert_allclose(together, expected, atol=2e-5)
    np.testing.assert_allclose(alone, expected[1:2], atol=2e-5)
    assert max(expected) - min(expected) > 0.01


def test_the_order_of_a_pair_counts(backend: Backend) -> None:
    (one,), (other,) = scores(
        backend, pairs("a dog", query="the mat"), pairs("the mat", query="a dog")
    )
    assert abs(one - other) > 1e-4


@pytest.mark.parametrize(
    ("work", "code", "message"),
    [
        (Embed((Text("a"),)), ErrorCode.INVALID_REQUEST, "POST /v1/rerank"),
        (Embed((Tokens((1,)),), seconds=("a",)), ErrorCode.INVALID_REQUEST, "no tokens"),
        (pairs("cat " * 30), ErrorCode.CONTEXT_LENGTH_EXCEEDED, r"text 0 has .*tokens.*reads 24"),
        (
            Decide(Chat(()), (Question(QuestionKind.CHOICE, "q", (Option("a"), Option("b"))),)),
            ErrorCode.INVALID_REQUEST,
            "scores pairs of texts",
        ),
    ],
)
def test_what_it_cannot_do_is_said(
    backend: Backend, work: Any, code: ErrorCode, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        backend.add("r", work)
    assert refused.value.code is code
    assert not backend.busy
