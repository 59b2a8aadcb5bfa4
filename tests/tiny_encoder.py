"""Tiny models of sentence-transformers with random weights, as their makers would publish them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from cupola.cache.convert.weights.encoder_shape import EncoderShape

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"the a cat dog sat ran on mat far away".split()]
SHAPE = EncoderShape(
    model_type="bert",
    vocab_size=len(WORDS),
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=24,
    layer_norm_eps=1e-12,
)
LONGEST = 16  # tokens that its makers let it read


def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    width, inner = SHAPE.hidden_size, SHAPE.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (SHAPE.vocab_size, width),
        "embeddings.position_embeddings.weight": (SHAPE.max_position_embeddings, width),
        "embeddings.token_type_embeddings.weight": (SHAPE.type_vocab_size, width),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(SHAPE.num_hidden_layers):
        at = f"encoder.layer.{layer}"
        dense = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        dense["attention.output.dense"] = (width, width)
        dense["intermediate.dense"] = (inner, width)
        dense["output.dense"] = (width, inner)
        for name, shape in dense.items():
            shapes[f"{at}.{name}.weight"], shapes[f"{at}.{name}.bias"] = shape, shape[:1]
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    made = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
    for norm in norms:
        made[f"{norm}.weight"] = random.normal(1, 0.2, width)
        made[f"{norm}.bias"] = random.normal(0, 0.2, width)
    return {name: value.astype(np.float32) for name, value in made.items()}


def safetensors(tensors: dict[str, np.ndarray], kind: str = "F32") -> bytes:
    """The bytes of a file with ``tensors``."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, value in tensors.items():
        raw = value.tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, ends)
    made.add_special_tokens(WORDS[:4])
    made.enable_truncation(8)  # published tokenizers often have both switched on
    made.enable_padding(length=8)
    return made


def write(folder: Path, *, pooling: str = "mean_tokens", normalize: bool = True, **config: Any):
    """The files of the model in ``folder``; returns the weights' path."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "type": f"sentence_transformers.models.{kind}", "path": path}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    files: dict[str, Any] = {
        "config.json": {name: getattr(SHAPE, name) for name in SHAPE.__struct_fields__} | config,
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": LONGEST},
        "1_Pooling/config.json": {f"pooling_mode_{mode}": mode == pooling for mode in modes},
        "tokenizer_config.json": {},
    }
    (folder / "1_Pooling").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    tokenizer().save(str(folder / "tokenizer.json"))
    weights = folder / "model.safetensors"
    weights.write_bytes(safetensors(tensors()))
    return weights


def ranker_tensors() -> dict[str, np.ndarray]:
    """Those of a cross-encoder: a whole model has its encoder under "bert."."""
    random = np.random.default_rng(11)
    width = SHAPE.hidden_size
    shapes = {
        "bert.pooler.dense.weight": (width, width),
        "bert.pooler.dense.bias": (width,),
        "classifier.weight": (1, width),
        "classifier.bias": (1,),
    }
    head = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
    made = {f"bert.{name}": value for name, value in tensors().items()}
    return made | {name: value.astype(np.float32) for name, value in head.items()}


def write_ranker(folder: Path, **config: Any) -> Path:
    """The files of a cross-encoder in ``folder``; returns the weights' path."""
    classifier = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
    }
    plain = {name: getattr(SHAPE, name) for name in SHAPE.__struct_fields__}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(plain | classifier | config))
    (folder / "tokenizer_config.json").write_text("{}")
    tokenizer().save(str(folder / "tokenizer.json"))
    weights = folder / "model.safetensors"
    weights.write_bytes(safetensors(ranker_tensors()))
    return weights
