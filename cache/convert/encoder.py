"""A sentence-transformers model (safetensors) to a model folder, without torch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.formats.safetensors_file import SafetensorsFile
from cupola.cache.convert.formats.weights_file import DATA_FILE, WeightsFile
from cupola.cache.convert.graph.encoder_graph import EncoderGraph, EncoderShape
from cupola.cache.convert.model_files import (
    advancing,
    inference_model,
    read_json,
    write_bytes,
    write_json,
)
from cupola.cache.progress import Progress, silent

# The files that a worker reads as their authors wrote them.
COPIED_FILES = (
    "config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
    "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip


class _Sentences(msgspec.Struct):
    max_seq_length: int = 0


def convert_encoder(
    weights: Path,
    target: Path,
    variant: ModelVariant,
    *,
    source_sha256: str = "",
    progress: Progress = silent,
) -> None:
    """Writes the model folder ``target``, which must not exist.

    The sources are ``weights`` and the files beside it. ``inference_model.json`` is written last.
    Raises ModelFileError, OSError.
    """
    source = weights.parent
    shape = read_json(source / "config.json", EncoderShape)
    sentences = read_json(source / "sentence_bert_config.json", _Sentences)
    longest = shape.max_position_embeddings
    target.mkdir(parents=True)
    total = weights.stat().st_size
    advance = advancing(weights, progress)

    with WeightsFile(target / DATA_FILE) as data:
        model = EncoderGraph(SafetensorsFile(weights), shape, data, advance).build()
    write_bytes(target / "model.onnx", model.SerializeToString())
    for name in COPIED_FILES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)
    config = _config(shape, min(sentences.max_seq_length or longest, longest))
    write_json(target / "genai_config.json", config)
    write_json(target / "inference_model.json", inference_model(variant, "", source_sha256))
    progress("convert", total, total)


def _config(shape: EncoderShape, context: int) -> dict[str, Any]:
    return {
        "model": {
            "type": shape.model_type,
            "context_length": context,
            "decoder": {
                "session_options": {"provider_options": []},
                "filename": "model.onnx",
                "hidden_size": shape.hidden_size,
                "num_attention_heads": shape.num_attention_heads,
                "num_hidden_layers": shape.num_hidden_layers,
            },
            "vocab_size": shape.vocab_size,
        },
        "search": {"max_length": context},
    }
