"""A tiny BERT in a GGUF, written as llama.cpp's converter writes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Kind

from tests.tiny_encoder import SHAPE, WORDS, tensors

_PARTS = (
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.position_embeddings", "position_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.LayerNorm", "token_embd_norm"),
    ("encoder.layer.", "blk."),
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
)


def phantom(token: str) -> str:
    """A token of BERT's vocabulary as llama.cpp's converter stores it."""
    if token.startswith("[") and token.endswith("]"):
        return token
    return token[2:] if token.startswith("##") else "▁" + token


def add_value(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    """By its type. None: the file has none."""
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list() | bytes():
            writer.add_array(key, value)


def write_bert(
    path: Path,
    *,
    words: list[str] = WORDS,
    kind: Kind = Kind.F32,
    missing: str = "",
    architecture: str = "bert",
    **metadata: Any,
) -> dict[str, np.ndarray]:
    """Returns the tensors as they are stored, by the names of the hub.

    ``kind``: of the matrices. ``missing``: a tensor of the file that is left out. ``metadata``: by
    the last part of a key, added or put in place of ours; None leaves it out.
    """
    writer = gguf.GGUFWriter(path, architecture)
    values: dict[str, Any] = {
        "bert.block_count": SHAPE.num_hidden_layers,
        "bert.context_length": SHAPE.max_position_embeddings,
        "bert.embedding_length": SHAPE.hidden_size,
        "bert.feed_forward_length": SHAPE.intermediate_size,
        "bert.attention.head_count": SHAPE.num_attention_heads,
        "bert.attention.layer_norm_epsilon": SHAPE.layer_norm_eps,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "tokenizer.ggml.token_type_count": SHAPE.type_vocab_size,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "jina-v2-en",
        "tokenizer.ggml.tokens": [phantom(word) for word in words],
        "tokenizer.ggml.token_type": [3 if word.startswith("[") else 1 for word in words],
        "tokenizer.ggml.cls_token_id": words.index("[CLS]"),
        "tokenizer.ggml.seperator_token_id": words.index("[SEP]"),
        "tokenizer.ggml.unknown_token_id": words.index("[UNK]"),
        "tokenizer.ggml.padding_token_id": words.index("[PAD]"),
    }
    for key in list(values):
        last = key.rpartition(".")[2]
        if last in metadata:
            values[key] = metadata[last]
    for key, value in values.items():
        add_value(writer, key, value)
    stored = {}
    for name, weights in tensors().items():
        own = name
        for part, renamed in _PARTS:
            own = own.replace(part, renamed)
        if name == "embeddings.word_embeddings.weight" and len(words) != len(WORDS):
            weights = np.resize(weights, (len(words), weights.shape[1]))
        rounded = weights.ndim == 2 and kind is not Kind.F32
        data = gguf.quantize(weights, kind) if rounded else weights
        stored[name] = gguf.dequantize(data, kind).astype(np.float32) if rounded else weights
        if own == missing:
            continue
        if rounded:
            writer.add_tensor(own, data, raw_dtype=kind)
        else:
            writer.add_tensor(own, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored
