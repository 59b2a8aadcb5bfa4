"""A model of sentence-transformers (safetensors) to a model folder, without torch.

It makes vectors of texts, or it is a cross-encoder and scores pairs of them.
"""

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
from cupola.cache.model_config import RANKER
from cupola.cache.progress import Progress, silent

# The files that a worker reads as their authors wrote them.
COPIED_FILES = (
    "config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
    "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip
_OF_RANKERS = ("config.json", "tokenizer.json", "tokenizer_config.json")


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
    longest = shape.max_position_embeddings
    if not shape.ranks:
        sentences = read_json(source / "sentence_bert_config.json", _Sentences)
        longest = min(sentences.max_seq_length or longest, longest)
    target.mkdir(parents=True)
    total = weights.stat().st_size
    advance = advancing(weights, progress)

    with WeightsFile(target / DATA_FILE) as data:
        model = EncoderGraph(SafetensorsFile(weights), shape, data, advance).build()
    write_bytes(target / "model.onnx", model.SerializeToString())
    for name in _OF_RANKERS if shape.ranks else COPIED_FILES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)
    write_json(target / "genai_config.json", _config(shape, longest))
    write_json(target / "inference_model.json", inference_model(variant, "", source_sha256))
    progress("convert", total, total)


def _config(shape: EncoderShape, context: int) -> dict[str, Any]:
    return {
        "model": {
            "type": RANKER if shape.ranks else shape.model_type,
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
