"""A Whisper of CTranslate2, Hugging Face or onnxruntime-genai to a model folder, without torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.formats.ctranslate2_file import CTranslate2File
from cupola.cache.convert.formats.safetensors_file import SafetensorsFile
from cupola.cache.convert.formats.weights_file import WeightsFile
from cupola.cache.convert.model_files import (
    advancing,
    inference_model,
    read_json,
    write_bytes,
    write_json,
)
from cupola.cache.convert.whisper.audio_encoder import audio_encoder
from cupola.cache.convert.whisper.builder_weights import BuilderWeights
from cupola.cache.convert.whisper.suppressed_tokens import suppressed_tokens
from cupola.cache.convert.whisper.text_decoder import text_decoder
from cupola.cache.convert.whisper.whisper_files import CTRANSLATE2, DECODER, ENCODER, whisper_files
from cupola.cache.convert.whisper.whisper_layers import WhisperLayers
from cupola.cache.convert.whisper.whisper_shape import WhisperShape
from cupola.cache.convert.whisper.whisper_weights import (
    CTranslate2Weights,
    HuggingFaceWeights,
    WhisperWeights,
)
from cupola.cache.errors import BrokenFileError
from cupola.cache.model_config import GENAI_CONFIG
from cupola.cache.progress import Progress, silent

TOKENIZER = "tokenizer.json"
GENERATION = "generation_config.json"


class CTranslate2Config(msgspec.Struct):
    """What CTranslate2's config.json says about the choice of tokens."""

    suppress_ids: list[int] = []
    suppress_ids_begin: list[int] = []
    alignment_heads: list[tuple[int, int]] = []


def convert_whisper(
    weights: Path,
    target: Path,
    variant: ModelVariant,
    *,
    source_sha256: str = "",
    progress: Progress = silent,
) -> None:
    """Writes the model folder ``target``, which must not exist.

    The sources are ``weights`` (for onnxruntime-genai's form, its ``genai_config.json``) and the
    files beside it. ``inference_model.json`` is written last.
    Raises ModelFileError, OSError.
    """
    source = weights.parent
    tokenizer = source / TOKENIZER
    if not tokenizer.is_file():
        raise BrokenFileError(f"{TOKENIZER} is missing beside the weights")
    read, generation = _open(weights)
    if "suppress_tokens" not in generation:
        generation = suppressed_tokens(tokenizer) | generation
    target.mkdir(parents=True)
    total = sum(path.stat().st_size for path in whisper_files(weights))
    advance = advancing(total, progress)

    rounded = not variant.precision.is_float
    _write(target / ENCODER, read, advance, audio_encoder, rounded=False)
    _write(target / DECODER, read, advance, text_decoder, rounded=rounded)
    shutil.copyfile(tokenizer, target / TOKENIZER)
    write_json(target / GENERATION, generation)
    write_json(target / GENAI_CONFIG, _config(read.shape))
    write_json(target / "inference_model.json", inference_model(variant, "", source_sha256))
    progress("convert", total, total)


def _open(weights: Path) -> tuple[WhisperWeights, dict[str, Any]]:
    """The weights, and what the model's makers say about the choice of tokens."""
    source = weights.parent
    if weights.suffix != CTRANSLATE2:
        generation = dict[str, Any]()
        if (source / GENERATION).is_file():
            generation = read_json(source / GENERATION, dict[str, Any])
        if weights.name == GENAI_CONFIG:
            return BuilderWeights(source), generation
        shape = read_json(source / "config.json", WhisperShape)
        return HuggingFaceWeights(SafetensorsFile(weights), shape), generation
    config = read_json(source / "config.json", CTranslate2Config)
    generation = {
        "suppress_tokens": config.suppress_ids,
        "begin_suppress_tokens": config.suppress_ids_begin,
        "alignment_heads": config.alignment_heads,
    }
    return CTranslate2Weights(CTranslate2File(weights)), generation


def _write(
    path: Path,
    weights: WhisperWeights,
    advance: Callable[[int], None],
    build: Callable[[WhisperLayers], onnx.ModelProto],
    *,
    rounded: bool,
) -> None:
    with WeightsFile(path.with_name(f"{path.name}.data")) as data:
        model = build(WhisperLayers(weights, data, advance, rounded=rounded))
    write_bytes(path, model.SerializeToString())


def _config(shape: WhisperShape) -> dict[str, Any]:
    heads = shape.decoder_attention_heads
    return {
        "model": {
            "type": "whisper",
            "context_length": shape.max_target_positions,
            "decoder": {
                "session_options": {"provider_options": []},
                "filename": DECODER,
                "head_size": shape.d_model // heads,
                "hidden_size": shape.d_model,
                "num_attention_heads": heads,
                "num_hidden_layers": shape.decoder_layers,
                "num_key_value_heads": heads,
            },
            "encoder": {"filename": ENCODER, "num_mel_bins": shape.num_mel_bins},
            "vocab_size": shape.vocab_size,
        },
        "search": {"max_length": shape.max_target_positions},
    }
