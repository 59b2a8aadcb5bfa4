"""Vectors of texts: several requests in a run, pooling as the model says, limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cupola.cache.catalog import ALL_MINILM_L6_V2, ExecutionProvider
from cupola.cache.convert.encoder import convert_encoder
from cupola.scheduler.protocol.messages import ErrorCode, Rejected
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Embed, Encode, LocalModel, Text, Tokens, Work
from cupola.workers.encoder import embedding
from cupola.workers.encoder.embedding import EmbeddingBackend
from cupola.workers.encoder.encoder_session import EncoderSession
from cupola.workers.encoder.pooling import Pooling, Vectors
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import Backend, RequestError
from cupola.workers.model.model_folder import ModelFolder, ModelFolderError
from cupola.workers.model.text import TextCodec
from tests.cache.convert.encoder_reference import EncoderReference
from tests.tiny_encoder import LONGEST, SHAPE, tokenizer, write

TEXTS = ["the cat sat on the mat", "a dog", "far away the dog ran on and on"]


def load_tiny(folder: Path, **options):
    convert_encoder(write(folder / "source", **options), folder / "model", ALL_MINILM_L6_V2)
    model = LocalModel("m:1", str(folder / "model"), ExecutionProvider.CPU)
    return load(model, EngineOptions())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def backend(folder: Path):
    return load_tiny(folder)


@pytest.fixture(scope="module")
def reference(backend, folder: Path) -> EncoderReference:
    return EncoderReference(folder / "source" / "model.safetensors", SHAPE)


def finish(backend: Backend) -> list[Any]:
    """All outputs; a ``Rejected`` for a request that fails."""
    outputs: list[Any] = []
    while backend.busy:
        outputs += backend.step()
    return outputs


def vector(output: Output) -> np.ndarray:
    return np.frombuffer(output.embedding, "<f4")


def embed(backend, *texts: str, **options) -> list[np.ndarray]:
    backend.add("r", Embed(tuple(map(Text, texts)), **options))
    return [vector(output) for output in sorted(finish(backend), key=lambda output: output.index)]


def ids(text: str) -> list[int]:
    plain = tokenizer()
    plain.no_truncation()
    plain.no_padding()
    return plain.encode(text).ids


def test_vectors_are_the_normalised_means_of_numpys_hidden_states(backend, reference):
    for text, made in zip(TEXTS, embed(backend, *TEXTS), strict=True):
        mean = reference.hidden(ids(text)).mean(axis=0)
        np.testing.assert_allclose(made, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls_token", "max_tokens"])
def test_pooling_and_normalising_are_as_the_files_say(tmp_path, reference, pooling):
    backend = load_tiny(tmp_path, pooling=pooling, normalize=False)
    hidden = reference.hidden(ids(TEXTS[0]))
    expected = hidden[0] if pooling == "cls_token" else hidden.max(axis=0)
    made = embed(backend, *TEXTS)[0]
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_pooling_that_is_not_known_is_named(tmp_path):
    with pytest.raises(ModelFolderError, match="mean_sqrt_len"):
        load_tiny(tmp_path, pooling="mean_sqrt_len_tokens")


def test_requests_share_runs_and_each_ends_once(backend):
    backend.add("a", Embed((Text("the cat"), Text("a dog"))))
    backend.add("b", Embed((Tokens((1, 4, 6, 2)),)))
    outputs = backend.step()
    assert not backend.busy
    assert {(output.request_id, output.index) for output in outputs} == {
        ("a", 0), ("a", 1), ("b", 0)
    }  # fmt: skip
    ends = {output.request_id: output.usage for output in outputs if output.last}
    assert {name: usage.prompt_tokens for name, usage in ends.items()} == {"a": 8, "b": 4}


def test_what_is_beside_a_text_does_not_change_its_vector(backend):
    (alone,) = embed(backend, TEXTS[1])
    together = embed(backend, *TEXTS)[1]
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_a_large_request_does_not_keep_a_small_one_waiting(backend, monkeypatch):
    monkeypatch.setattr(embedding, "BUDGET", 16)
    backend.add("large", Embed((Text("the cat"),) * 20))
    backend.add("small", Embed((Text("a dog"),)))
    assert "small" in {output.request_id for output in backend.step()}
    assert sum(output.last for output in finish(backend)) == 1


def test_an_abort_leaves_the_others(backend):
    backend.add("a", Embed((Text("the cat"),)))
    backend.add("b", Embed((Text("a dog"),)))
    backend.abort("a")
    backend.abort("unknown")
    assert [output.request_id for output in finish(backend)] == ["b"]


def test_a_long_text_is_refused_with_both_numbers(backend):
    with pytest.raises(RequestError, match=r"input 1 has 22 tokens.*reads 16") as caught:
        backend.add("r", Embed((Text("a"), Text("cat " * 20))))
    assert caught.value.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert caught.value.param == "texts"
    assert not backend.busy


def test_a_long_text_is_cut_when_that_is_asked_for(backend, reference):
    (made,) = embed(backend, "cat " * 20, truncate=True)
    long = ids("cat " * 20)
    mean = reference.hidden([*long[: LONGEST - 1], long[-1]]).mean(axis=0)
    np.testing.assert_allclose(made, mean / np.linalg.norm(mean), atol=1e-5)


def test_shorter_vectors_only_where_the_model_was_trained_for_them(backend, tmp_path):
    assert len(embed(backend, "a cat", dimensions=SHAPE.hidden_size)[0]) == SHAPE.hidden_size
    with pytest.raises(RequestError, match="32 dimensions and cannot be shortened"):
        backend.add("r", Embed((Text("a"),), dimensions=8))
    nested = load_tiny(tmp_path, matryoshka_dimensions=[8, 16])
    whole, short = embed(nested, "a cat")[0], embed(nested, "a cat", dimensions=8)[0]
    np.testing.assert_allclose(short, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    with pytest.raises(RequestError, match="8, 16") as caught:
        nested.add("r", Embed((Text("a"),), dimensions=9))
    assert caught.value.param == "dimensions"


@pytest.mark.parametrize(
    ("task", "named"),
    [
        (Work(Text("hello")), "/v1/embeddings"),
        (Embed(()), "no text"),
        (Embed((Tokens(()),)), "input 0 is empty"),
        (Embed((Tokens((1, 999)),)), "999"),
    ],
)
def test_what_cannot_be_done_is_named(backend, task, named):
    with pytest.raises(RequestError, match=named):
        backend.add("r", task)
    assert not backend.busy


def test_broken_files_of_the_model_are_named(tmp_path):
    load_tiny(tmp_path)
    model = LocalModel("m:1", str(tmp_path / "model"), ExecutionProvider.CPU)
    (tmp_path / "model" / "modules.json").write_text(json.dumps([{"type": "a.Dense"}]))
    with pytest.raises(ModelFolderError, match="Dense"):
        load(model, EngineOptions())
    (tmp_path / "model" / "modules.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"modules\.json"):
        load(model, EngineOptions())


class Trusting(TextCodec):
    """A codec that takes any number for a token."""

    def has(self, token: int) -> bool:
        return True


class Spoilt(Pooling):
    """Makes no numbers of the second text."""

    def __call__(self, hidden: Vectors, lengths: NDArray[np.int64]) -> Vectors:
        vectors = super().__call__(hidden, lengths).copy()
        vectors[1] = np.nan
        return vectors


def assembled(model: Path, codec: type[TextCodec], pooling: type[Pooling]) -> EmbeddingBackend:
    folder = ModelFolder.read(model)
    return EmbeddingBackend(
        folder, codec(model), EncoderSession(folder, threads=1), pooling.read(model)
    )


@pytest.mark.parametrize("others", [0, 2])
def test_a_text_that_the_runtime_refuses_costs_its_own_request_only(
    backend: EmbeddingBackend, folder: Path, others: int
):
    """A token that is not in the embedding's table, and that the codec does not refuse."""
    expected = embed(backend, *TEXTS)
    backend = assembled(folder / "model", Trusting, Pooling)
    for number in range(others):
        backend.add(str(number), Embed(tuple(map(Text, TEXTS))))
    backend.add("bad", Embed((Text(TEXTS[0]), Tokens((2, 10**6, 3)), Text(TEXTS[2]))))
    made = finish(backend)
    (rejected,) = [output for output in made if isinstance(output, Rejected)]
    assert (rejected.request_id, rejected.code) == ("bad", ErrorCode.INTERNAL)
    assert "input 1" in rejected.message
    for number in range(others):
        found = [output for output in made if output.request_id == str(number)]
        for output in found:
            np.testing.assert_allclose(vector(output), expected[output.index], atol=1e-5)
        assert [output.last for output in found].count(True) == 1
    np.testing.assert_allclose(embed(backend, TEXTS[0])[0], expected[0], atol=1e-5)


def test_a_vector_that_is_no_numbers_costs_its_own_request_only(
    backend: EmbeddingBackend, folder: Path
):
    backend = assembled(folder / "model", TextCodec, Spoilt)
    for name, text in zip("abc", TEXTS, strict=True):
        backend.add(name, Embed((Text(text),)))
    outputs = backend.step()
    assert [isinstance(output, Rejected) for output in outputs] == [False, True, False]
    assert not backend.busy


@pytest.fixture
def waited(folder: Path) -> Iterator[tuple[EmbeddingBackend, Callable[[], list[Any]]]]:
    """A backend, and what waits for the large texts that it reads and returns its outputs."""
    woken = threading.Event()
    model = LocalModel("m:1", str(folder / "model"), ExecutionProvider.CPU)
    backend = load(model, EngineOptions(), woken.set)
    assert isinstance(backend, EmbeddingBackend)

    def outputs() -> list[Any]:
        while not backend.busy:
            assert woken.wait(60)
            woken.clear()
        return finish(backend)

    yield backend, outputs


def test_many_texts_are_read_beside_the_runs(backend, waited):
    large, outputs = waited
    texts = TEXTS * 500
    large.add("r", Embed(tuple(map(Text, texts))))
    large.add("small", Embed((Text(TEXTS[0]),)))  # nobody waits for the others' texts
    all_outputs = outputs()
    if all(output.request_id == "small" for output in all_outputs):
        all_outputs += outputs()
    made = sorted((o for o in all_outputs if o.request_id == "r"), key=lambda o: o.index)
    assert len(made) == len(texts)
    assert len(all_outputs) == len(texts) + 1
    for vector_of, expected in zip(made, embed(backend, *texts[:3]), strict=False):
        np.testing.assert_allclose(vector(vector_of), expected, atol=1e-5)


def test_a_large_text_that_does_not_fit_is_refused_for_itself(waited):
    large, outputs = waited
    large.add("r", Embed((Text("the cat "), Text("the cat " * 10_000))))
    (refusal,) = outputs()
    assert isinstance(refusal, Rejected)
    assert refusal.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert "input 1" in refusal.message


def test_large_texts_that_are_cancelled_say_nothing(waited):
    large, outputs = waited
    large.add("r", Embed(tuple(Text("the cat") for _ in range(2000))))
    large.abort("r")
    assert large.convert("next", Encode(Text("the cat " * 10_000))) is None
    assert {output.request_id for output in outputs()} == {"next"}
