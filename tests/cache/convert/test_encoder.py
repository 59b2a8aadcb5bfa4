"""Safetensors in, a model folder out, and a graph that agrees with NumPy."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from cupola.cache.catalog import ALL_MINILM_L6_V2
from cupola.cache.convert.encoder import convert_encoder
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.install import import_gguf
from tests.cache.convert.encoder_reference import EncoderReference
from tests.tiny_encoder import LONGEST, SHAPE, ranker_tensors, safetensors, write, write_ranker

_LAST = ("classifier.weight", "classifier.bias")


def convert(folder: Path, **options) -> Path:
    target = folder / "converted"
    convert_encoder(write(folder / "source", **options), target, ALL_MINILM_L6_V2)
    return target


def test_hidden_states_are_numpys(tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(convert(tmp_path) / "model.onnx"))
    reference = EncoderReference(tmp_path / "source" / "model.safetensors", SHAPE)
    texts = [[1, 4, 6, 8, 2], [1, 2], [1, *range(3, 14), 2]]
    longest = max(map(len, texts))
    ids = np.array([text + [0] * (longest - len(text)) for text in texts])
    mask = np.array([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    (hidden,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    for row, text in zip(hidden, texts, strict=True):
        np.testing.assert_allclose(row[: len(text)], reference.hidden(text), atol=2e-5)


def test_a_converted_encoder_is_found_with_its_context_and_task(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    place = home.model_folder(ALL_MINILM_L6_V2.publisher, ALL_MINILM_L6_V2.id)
    place.parent.mkdir(parents=True)
    convert(tmp_path).rename(place)
    from cupola.cache.store import ModelCache

    model = ModelCache(home).find("all-minilm-l6-v2")
    assert model.variant.context_length == LONGEST
    assert model.variant.task == "embeddings"
    assert (model.path / "1_Pooling" / "config.json").exists()


def test_scores_of_pairs_are_numpys(tmp_path: Path) -> None:
    weights = write_ranker(tmp_path / "source")
    convert_encoder(weights, tmp_path / "made", ALL_MINILM_L6_V2)
    session = onnxruntime.InferenceSession(str(tmp_path / "made" / "model.onnx"))
    reference = EncoderReference(weights, SHAPE, "bert.")
    pairs = [([1, 4, 6, 2, 5, 2], [0, 0, 0, 0, 1, 1]), ([1, 4, 2, 7, 8, 9, 2], [0] * 3 + [1] * 4)]
    longest = max(len(ids) for ids, _ in pairs)
    padded = {"input_ids": 0, "attention_mask": 1, "token_type_ids": 2}
    rows = [(ids, [1] * len(ids), types) for ids, types in pairs]
    feed = {
        name: np.array([row[place] + [0] * (longest - len(row[place])) for row in rows])
        for name, place in padded.items()
    }
    (scores,) = session.run(None, feed)
    for row, (ids, types) in zip(scores, pairs, strict=True):
        np.testing.assert_allclose(row, [reference.score(ids, types)], atol=2e-5)
    # What BertForSequenceClassification of transformers 5.24.0 makes of the same files.
    np.testing.assert_allclose(scores[:, 0], [0.1126276, 1.1192704], atol=2e-5)
    assert abs(reference.score(*pairs[0]) - reference.score(pairs[0][0], [0] * 6)) > 1e-3


def test_scores_of_an_xlm_roberta_are_numpys(tmp_path: Path) -> None:
    names = {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "type_vocab_size": 1,
        "pad_token_id": 0,
    }
    weights = write_ranker(tmp_path / "source", **names)
    one_type = "bert.embeddings.token_type_embeddings.weight"
    made = ranker_tensors() | {one_type: ranker_tensors()[one_type][:1]}
    weights.write_bytes(safetensors({_as_roberta(name): value for name, value in made.items()}))
    convert_encoder(weights, tmp_path / "made", ALL_MINILM_L6_V2)
    session = onnxruntime.InferenceSession(str(tmp_path / "made" / "model.onnx"))
    assert {each.name for each in session.get_inputs()} == {"input_ids", "attention_mask"}
    # Its positions begin behind that of the padding token.
    places = "bert.embeddings.position_embeddings.weight"
    made[places] = made[places][1:]
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes(safetensors(made))
    rows = SHAPE.max_position_embeddings - 1
    shape = msgspec.structs.replace(SHAPE, max_position_embeddings=rows, type_vocab_size=1)
    reference = EncoderReference(plain, shape, "bert.")
    for ids in ([1, 4, 6, 2, 2, 5, 2], [1, *[5] * (rows - 2), 2]):
        feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        (scores,) = session.run(None, feed)
        np.testing.assert_allclose(scores[0], [reference.score(ids, [0] * len(ids))], atol=2e-5)


def _as_roberta(name: str) -> str:
    name = name.replace("bert.pooler.dense", "classifier.dense").replace("bert.", "roberta.")
    return "classifier.out_proj." + name[11:] if name in _LAST else name


def test_a_classifier_of_several_labels_is_no_ranker(tmp_path: Path) -> None:
    weights = write_ranker(tmp_path / "source", id2label={"0": "no", "1": "yes"})
    with pytest.raises(UnsupportedError, match="2 labels"):
        convert_encoder(weights, tmp_path / "made", ALL_MINILM_L6_V2)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "distilbert"}, "model_type"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
)
def test_another_architecture_is_named(tmp_path: Path, config: dict[str, str], named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        convert(tmp_path, **config)


def test_what_is_missing_beside_the_weights_is_named(tmp_path: Path) -> None:
    weights = write(tmp_path / "source")
    (tmp_path / "source" / "config.json").unlink()
    with pytest.raises(BrokenFileError, match=r"config\.json is missing"):
        convert_encoder(weights, tmp_path / "target", ALL_MINILM_L6_V2)


def test_a_file_that_is_no_model_is_not_imported(tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    file.write_bytes(safetensors({}))
    with pytest.raises(BrokenFileError):
        import_gguf(file, Home(tmp_path / "home"))
