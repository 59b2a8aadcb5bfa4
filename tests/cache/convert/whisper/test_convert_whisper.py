"""Whisper files in, graphs out that agree with NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from msgspec.structs import replace

from cupola.cache.catalog import ALL_MINILM_L6_V2
from cupola.cache.convert.formats.ctranslate2_file import CTranslate2File
from cupola.cache.convert.whisper.convert_whisper import convert_whisper
from cupola.cache.errors import BrokenFileError, UnsupportedError
from cupola.cache.precision import Precision
from tests.cache.convert.whisper.whisper_reference import WhisperReference
from tests.tiny_whisper import (
    SHAPE,
    Tensors,
    ctranslate2_file,
    values,
    write_ctranslate2,
    write_hugging_face,
)

Floats = npt.NDArray[np.float32]
HEADS, SIZE = SHAPE.decoder_attention_heads, SHAPE.d_model // SHAPE.decoder_attention_heads
FLOATS = replace(ALL_MINILM_L6_V2, precision=Precision.FP32)
TOKENS = [257, 258, 261, 20, 21, 22, 99, 100, 31]


class Graphs:
    """Both graphs of a converted model."""

    def __init__(self, folder: Path) -> None:
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder.onnx"))
        self._decoder = onnxruntime.InferenceSession(str(folder / "decoder.onnx"))

    def heard(self, features: Floats) -> dict[str, Floats]:
        names = [output.name for output in self._encoder.get_outputs()]
        return dict(zip(names, self._encoder.run(None, {"features": features}), strict=True))

    def logits(self, heard: dict[str, Floats], cuts: list[list[int]]) -> Floats:
        """Of tokens that come in pieces."""
        past = {
            f"past_{kind}.{layer}": np.zeros((1, HEADS, 448, SIZE), np.float32)
            for layer in range(2)
            for kind in ("key", "value")
        }
        found, start = [], 0
        for tokens in cuts:
            end = start + len(tokens)
            feed = {
                "input_ids": np.array([tokens]),
                "positions": np.arange(start, end)[None],
                "seqlens_k": np.array([end - 1], np.int32),
                "total_sequence_length": np.array(end, np.int32),
                "wanted": np.arange(len(tokens)),
            }
            names = [output.name for output in self._decoder.get_outputs()]
            outputs = dict(zip(names, self._decoder.run(None, feed | past | heard), strict=True))
            found.append(outputs.pop("logits"))
            past = {
                name.replace("present", "past"): value
                for name, value in outputs.items()
                if name.startswith("present")
            }
            start = end
        return np.concatenate(found)


@pytest.fixture(scope="module")
def features() -> Floats:
    return np.random.default_rng(1).standard_normal((1, 80, 3000)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(features: Floats) -> Floats:
    reference = WhisperReference(values())
    return reference.logits(TOKENS, reference.audio(features[0]))


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_hugging_face, write_ctranslate2])
def test_logits_are_numpys(
    tmp_path: Path, features: Floats, expected: Floats, write: Callable[[Path], Path]
) -> None:
    convert_whisper(write(tmp_path / "source"), tmp_path / "model", FLOATS)
    graphs = Graphs(tmp_path / "model")
    heard = graphs.heard(features)
    for cuts in ([TOKENS], [TOKENS[:4], *([token] for token in TOKENS[4:])]):
        np.testing.assert_allclose(graphs.logits(heard, cuts), expected, atol=2e-4)


@pytest.mark.slow
@pytest.mark.slow
def test_eight_bits_stay_near_the_floats(
    tmp_path: Path, features: Floats, expected: Floats
) -> None:
    source = write_ctranslate2(tmp_path / "source")
    convert_whisper(source, tmp_path / "model", replace(FLOATS, precision=Precision.INT8))
    graphs = Graphs(tmp_path / "model")
    found = graphs.logits(graphs.heard(features), [TOKENS])
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_of_eight_bits_are_read_with_their_scales(tmp_path: Path) -> None:
    codes = np.array([[127, -64], [10, 0]], np.int8)
    tensors: Tensors = {"w": codes, "w_scale": np.array([127, 2], np.float32)}
    (tmp_path / "model.bin").write_bytes(ctranslate2_file(tensors))
    file = CTranslate2File(tmp_path / "model.bin")
    np.testing.assert_allclose(file.tensor("w", (2, 2)), codes / [[127], [2]], rtol=1e-6)
    assert "alias/of" in file


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, share: float) -> None:
    weights = write_ctranslate2(tmp_path)
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    with pytest.raises((BrokenFileError, UnsupportedError)):
        convert_whisper(weights, tmp_path / "model", FLOATS)


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    weights = write_ctranslate2(tmp_path)
    weights.write_bytes(ctranslate2_file({"w": np.zeros(1, np.float32)}, "TransformerSpec"))
    with pytest.raises(UnsupportedError, match="TransformerSpec"):
        convert_whisper(weights, tmp_path / "model", FLOATS)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "wav2vec2"}, "model_type"),
        ({"activation_function": "relu"}, "activation_function"),
        ({"max_source_positions": 750}, "max_source_positions"),
        ({"decoder_attention_heads": 7}, "7 heads"),
        ({"d_model": 32}, "not"),
    ],
)
def test_another_shape_is_named(tmp_path: Path, config: dict[str, object], named: str) -> None:
    weights = write_hugging_face(tmp_path / "source", config=config)
    with pytest.raises((UnsupportedError, BrokenFileError), match=named):
        convert_whisper(weights, tmp_path / "model", FLOATS)


def test_what_is_missing_beside_the_weights_is_named(tmp_path: Path) -> None:
    weights = write_hugging_face(tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").unlink()
    with pytest.raises(BrokenFileError, match=r"tokenizer\.json"):
        convert_whisper(weights, tmp_path / "model", FLOATS)
