"""An encoder of sentence-transformers (safetensors), or in a GGUF, to a model folder.

It makes vectors of texts, or it is a cross-encoder and scores pairs of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.formats.safetensors_file import SafetensorsFile
from cupola.cache.convert.formats.weights_file import DATA_FILE, WeightsFile
from cupola.cache.convert.graph.encoder_graph import EncoderGraph
from cupola.cache.convert.model_files import (
    advancing,
    inference_model,
    read_json,
    write_bytes,
    write_json,
)
from cupola.cache.convert.tokenizer.encoder_tokenizer import encoder_tokenizer
from cupola.cache.convert.weights.encoder_shape import EncoderShape, EncoderTraits, EncoderWeights
from cupola.cache.convert.weights.gguf_encoder import (
    GgufEncoder,
    encoder_shape,
    encoder_traits,
    pooling_of,
)
from cupola.cache.model_config import ENCODER, RANKER
from cupola.cache.progress import Progress, silent

# The files that a worker reads as their authors wrote them.
COPIED_FILES = (
    "config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
    "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip
_MODULES = (
    {"type": "sentence_transformers.models.Transformer", "path": ""},
    {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
)
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
    shape.check()
    longest = shape.context
    if not shape.ranks:
        sentences = read_json(source / "sentence_bert_config.json", _Sentences)
        longest = min(sentences.max_seq_length or longest, longest)
    target.mkdir(parents=True)
    _write_graph(SafetensorsFile(weights), shape, shape.traits, target, weights, progress)
    for name in _OF_RANKERS if shape.ranks else COPIED_FILES:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)
    _finish(target, shape, longest, variant, source_sha256)


def convert_gguf_encoder(
    path: Path,
    target: Path,
    variant: ModelVariant,
    *,
    source_sha256: str = "",
    progress: Progress = silent,
) -> None:
    """As ``convert_encoder``, of a GGUF. Its vectors have the length 1, as llama.cpp's have."""
    gguf = GgufFile(path)
    shape, traits = encoder_shape(gguf), encoder_traits(gguf)
    pooling = "" if shape.ranks else pooling_of(gguf)
    tokenizer = encoder_tokenizer(gguf, shape.vocab_size)
    target.mkdir(parents=True)
    _write_graph(GgufEncoder(gguf), shape, traits, target, path, progress)
    if pooling:
        (target / "1_Pooling").mkdir()
        write_json(target / "modules.json", list(_MODULES))
        write_json(target / "1_Pooling" / "config.json", {f"pooling_mode_{pooling}": True})
    write_json(target / "config.json", {"model_type": shape.model_type})
    write_json(target / "tokenizer.json", tokenizer.tokenizer_json())
    write_json(target / "tokenizer_config.json", tokenizer.tokenizer_config())
    _finish(target, shape, shape.context, variant, source_sha256)


def _write_graph(
    weights: EncoderWeights,
    shape: EncoderShape,
    traits: EncoderTraits,
    target: Path,
    file: Path,
    progress: Progress,
) -> None:
    """``file``: what the weights are read of."""
    with WeightsFile(target / DATA_FILE) as data:
        advance = advancing(file.stat().st_size, progress)
        model = EncoderGraph(weights, shape, data, advance, traits).build()
    write_bytes(target / "model.onnx", model.SerializeToString())
    total = file.stat().st_size
    progress("convert", total, total)


def _finish(
    target: Path, shape: EncoderShape, context: int, variant: ModelVariant, source_sha256: str
) -> None:
    """Writes what makes the folder a model's."""
    write_json(target / "genai_config.json", _config(shape, context))
    write_json(target / "inference_model.json", inference_model(variant, "", source_sha256))


def _config(shape: EncoderShape, context: int) -> dict[str, Any]:
    return {
        "model": {
            "type": RANKER if shape.ranks else ENCODER,
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
