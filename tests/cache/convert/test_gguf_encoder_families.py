"""Encoders and rankers of other families than BERT in a GGUF: their graphs agree with NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from cupola.cache.errors import BrokenFileError, ModelFileError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.import_path import import_path
from cupola.cache.store import ModelCache
from cupola.scheduler.protocol.tasks import Embed, LocalModel, Text
from cupola.workers.encoder.pooling import Pooling
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from tests.cache.convert.tiny_gguf_encoders import CONTEXT, TinyEncoder, unigram

JINA, NOMIC = "jina-bert-v2", "nomic-bert"
ENCODERS = {
    "bert": TinyEncoder(fused=True),
    "xlm-roberta": TinyEncoder(tokenizer="t5", types=1),
    NOMIC: TinyEncoder(NOMIC, fused=True),
    JINA: TinyEncoder(JINA),
    "jina, power of two": TinyEncoder(JINA, heads=4),
    "jina, gate apart": TinyEncoder(JINA, gate_apart=True),
    "jina, code": TinyEncoder(JINA, norms=True),
}
RANKERS = {
    "xlm-roberta": TinyEncoder(ranks=True, tokenizer="t5", types=1),
    JINA: TinyEncoder(JINA, ranks=True, tokenizer="t5"),
}
QUERY, DOCUMENTS = "the cat", ["a dog ran", "the cat sat on the mat far away", "mat"]


@pytest.mark.parametrize("name", ENCODERS)
def test_hidden_states_are_numpys(name: str, tmp_path: Path) -> None:
    tiny = ENCODERS[name].write(tmp_path / "t.gguf")
    model = import_path(tmp_path / "t.gguf", Home(tmp_path / "home"))
    assert model.variant.task == "embeddings"
    assert Pooling.read(model.path) == Pooling("mean_tokens", normalize=True)
    texts = [[1, 5, 7, 2], list(range(4, 13)), [4] * CONTEXT]
    longest = max(map(len, texts))
    ids = np.array([text + [0] * (longest - len(text)) for text in texts])
    mask = np.array([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    session = onnxruntime.InferenceSession(str(model.path / "model.onnx"))
    (hidden,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    for row, text in zip(hidden, texts, strict=True):
        np.testing.assert_allclose(row[: len(text)], tiny.hidden(text), atol=2e-5)


@pytest.mark.parametrize("name", RANKERS)
def test_a_ranker_scores_pairs(name: str, tmp_path: Path) -> None:
    tiny = RANKERS[name].write(tmp_path / "t.gguf")
    home = Home(tmp_path / "home")
    import_path(tmp_path / "t.gguf", home)
    model = ModelCache(home).find("t")
    assert model.variant.task == "text-ranking"
    backend = load(
        LocalModel("t:1", str(model.path), model.variant.provider), EngineOptions(warm_up=False)
    )
    backend.add("r", Embed((Text(QUERY),) * 3, seconds=tuple(DOCUMENTS)))
    outputs: list[Any] = []
    while backend.busy:
        outputs += backend.step()
    scores = {output.index: np.frombuffer(output.embedding, "<f4")[0] for output in outputs}
    tokenizer = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    expected = [tiny.score(tokenizer.encode(QUERY, document).ids) for document in DOCUMENTS]
    np.testing.assert_allclose([scores[i] for i in range(3)], expected, atol=2e-5)
    assert max(expected) - min(expected) > 1e-3


def test_a_file_that_does_not_say_that_it_ranks(tmp_path: Path) -> None:
    """Converters write no pooling_type for models without a modules.json."""
    TinyEncoder(ranks=True, tokenizer="t5", types=1).write(
        tmp_path / "t.gguf", **{"bert.pooling_type": None}
    )
    model = import_path(tmp_path / "t.gguf", Home(tmp_path / "home"))
    assert model.variant.task == "text-ranking"
    pair = Tokenizer.from_file(str(model.path / "tokenizer.json")).encode("a", "b")
    assert [token for token in pair.tokens if token in ("<s>", "</s>")] == ["<s>", *["</s>"] * 3]
    assert pair.type_ids == [0] * len(pair.ids)


@pytest.mark.parametrize(
    ("tiny", "metadata", "error", "message"),
    [
        (
            TinyEncoder(NOMIC, fused=True),
            {"nomic-bert.rope.freq_base": 0.5},
            BrokenFileError,
            "0.5",
        ),
        (
            TinyEncoder(NOMIC),
            {"nomic-bert.rope.scaling.type": "yarn"},
            UnsupportedError,
            "stretches its positions by 'yarn'",
        ),
        (TinyEncoder(), {"tokenizer.ggml.model": "rwkv"}, UnsupportedError, "bert, gpt2, t5"),
        (TinyEncoder(), {"bert.pooling_type": 9}, UnsupportedError, "pooling_type 9"),
        (
            TinyEncoder(tokenizer="t5"),
            {"tokenizer.ggml.scores": [1.0]},
            BrokenFileError,
            "score for each token",
        ),
        (
            TinyEncoder(tokenizer="t5"),
            {"tokenizer.ggml.bos_token_id": None},
            BrokenFileError,
            "which token is 'bos'",
        ),
        (
            TinyEncoder(tokenizer="t5"),
            {"tokenizer.ggml.precompiled_charsmap": b"\xff" * 40},
            BrokenFileError,
            "precompiled_charsmap' is damaged",
        ),
    ],
)
def test_what_is_wrong_is_named(
    tiny: TinyEncoder,
    metadata: dict[str, Any],
    error: type[ModelFileError],
    message: str,
    tmp_path: Path,
) -> None:
    tiny.write(tmp_path / "t.gguf", **metadata)
    with pytest.raises(error, match=message):
        import_path(tmp_path / "t.gguf", Home(tmp_path / "home"))


def test_unigram_tokens_are_sentencepieces(tmp_path: Path) -> None:
    """Spaces are joined, and letters that are not known become one unknown token."""
    TinyEncoder(tokenizer="t5").write(tmp_path / "t.gguf")
    model = import_path(tmp_path / "t.gguf", Home(tmp_path / "home"))
    made = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    tokens, metadata = unigram()
    scores = metadata["tokenizer.ggml.scores"]
    for text in ("the cat sat", "  dogs   and cats ", "away a dog", "Zebra the x", ""):
        ids = made.encode(text, add_special_tokens=False).ids
        assert ids == _best(" ".join(text.split()), tokens, scores), text
    assert made.decode(made.encode("the cat sat").ids) == "the cat sat"


def test_byte_level_tokens_have_robertas_marks(tmp_path: Path) -> None:
    """As jina-reranker-v1 has them."""
    TinyEncoder(JINA, tokenizer="gpt2", ranks=True).write(tmp_path / "t.gguf")
    model = import_path(tmp_path / "t.gguf", Home(tmp_path / "home"))
    made = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    pair = made.encode("a cat", "cat")
    assert pair.tokens == ["<s>", "a", "Ġcat", "</s>", "</s>", "c", "at", "</s>"]
    assert pair.type_ids == [0] * 8


def _best(text: str, tokens: list[str], scores: list[float]) -> list[int]:
    """SentencePiece's Viterbi, word by word."""
    found: list[int] = []
    unknown = min(scores[4:]) - 10
    for word in (f"▁{word}" for word in text.split()):
        best: list[tuple[float, list[int]]] = [(0.0, [])]
        for end in range(1, len(word) + 1):
            ways = []
            for start in range(end):
                piece = word[start:end]
                if piece in tokens[4:]:
                    number = tokens.index(piece)
                    ways.append((best[start][0] + scores[number], [*best[start][1], number]))
                elif end - start == 1:
                    ways.append((best[start][0] + unknown, [*best[start][1], 3]))
            best.append(max(ways))
        ids = best[-1][1]
        found += [each for i, each in enumerate(ids) if each != 3 or i == 0 or ids[i - 1] != 3]
    return found
