"""A BERT in a GGUF: its graph agrees with NumPy, and it is imported as an embedding model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from tokenizers import BertWordPieceTokenizer

from cupola.cache.errors import BrokenFileError, ModelFileError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.import_path import import_path
from cupola.cache.store import ModelCache
from cupola.workers.encoder.pooling import Pooling
from tests.cache.convert.encoder_reference import EncoderReference
from tests.cache.convert.tiny_bert_gguf import write_bert
from tests.tiny_encoder import SHAPE, WORDS, safetensors


@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.Q8_0, Kind.Q4_0])
def test_hidden_states_are_numpys(kind: Kind, tmp_path: Path) -> None:
    stored = write_bert(tmp_path / "tiny-bert.gguf", kind=kind)
    (tmp_path / "stored.safetensors").write_bytes(safetensors(stored))
    reference = EncoderReference(tmp_path / "stored.safetensors", SHAPE)
    model = import_path(tmp_path / "tiny-bert.gguf", Home(tmp_path / "home"))
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    ids = BertWordPieceTokenizer(vocabulary).encode("The cat sat on a mat, far away").ids
    session = onnxruntime.InferenceSession(str(model.path / "model.onnx"))
    feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    (hidden,) = session.run(None, feed)
    np.testing.assert_allclose(hidden[0], reference.hidden(ids), atol=3e-5)


def test_it_is_an_embedding_model(tmp_path: Path) -> None:
    write_bert(tmp_path / "tiny-bert-q8_0.gguf", pooling_type=2)
    home = Home(tmp_path / "home")
    import_path(tmp_path / "tiny-bert-q8_0.gguf", home)
    model = ModelCache(home).find("tiny-bert")
    assert (model.variant.id, model.variant.task) == ("tiny-bert-generic-cpu:1", "embeddings")
    assert model.variant.context_length == SHAPE.max_position_embeddings
    assert Pooling.read(model.path) == Pooling("cls_token", normalize=True)
    again = import_path(tmp_path / "tiny-bert-q8_0.gguf", home)
    assert again.path == model.path


def test_an_encoder_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_bert(tmp_path / "t.gguf", architecture="modern-bert")
    with pytest.raises(UnsupportedError, match=r"not those of BERT.*: gemma.*, bert, jina"):
        import_path(tmp_path / "t.gguf", Home(tmp_path / "home"))


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        (
            {"pooling_type": 4},
            UnsupportedError,
            "lacks the layer in front",
        ),
        ({"causal": True}, UnsupportedError, "in one direction only"),
        ({"head_count": 5}, BrokenFileError, "do not divide"),
        ({"head_count": 0}, BrokenFileError, "is 0"),
        ({"block_count": 1 << 30}, BrokenFileError, "block_count"),
        ({"block_count": 3}, BrokenFileError, "lacks the tensor 'blk.2."),
        ({"feed_forward_length": 65}, BrokenFileError, r"is \(64, 32\), not \(65, 32\)"),
        ({"layer_norm_epsilon": None}, BrokenFileError, "layer_norm_epsilon"),
        *(
            ({"layer_norm_epsilon": epsilon}, BrokenFileError, "epsilon of its norms is")
            for epsilon in (math.nan, math.inf, 0.0, -1e-12, 1e-46)
        ),
        ({"tokens": [f"▁{n}" for n in range(99)], "token_type": [1] * 99}, BrokenFileError, "99"),
        ({"missing": "blk.1.ffn_up.bias"}, BrokenFileError, "lacks the tensor 'blk.1.ffn_up.bias'"),
        ({"missing": "token_embd.weight"}, BrokenFileError, "lacks the tensor 'token_embd"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_nothing(
    metadata: dict[str, Any], error: type[ModelFileError], message: str, tmp_path: Path
) -> None:
    write_bert(tmp_path / "t.gguf", **metadata)
    home = Home(tmp_path / "home")
    with pytest.raises(error, match=message):
        import_path(tmp_path / "t.gguf", home)
    assert ModelCache(home).scan() == []
    assert not [path for path in home.models.rglob("*") if path.is_file()]
