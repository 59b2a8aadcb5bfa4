"""A tiny Whisper with random weights, in the files of CTranslate2 and of Hugging Face."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from cupola.cache.convert.whisper.whisper_shape import AUDIO_POSITIONS, WhisperShape

Values = dict[str, npt.NDArray[np.float32]]
Tensors = dict[str, npt.NDArray[Any]]

LETTERS = 256  # tokens of text: one a byte
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
END = LETTERS
FIRST_TIME = LETTERS + len(SPECIAL)  # <|0.00|>
SHAPE = WhisperShape(
    vocab_size=FIRST_TIME + 1501,
    num_mel_bins=80,
    d_model=64,
    encoder_layers=2,
    encoder_attention_heads=2,
    encoder_ffn_dim=128,
    decoder_layers=2,
    decoder_attention_heads=2,
    decoder_ffn_dim=128,
    max_target_positions=448,
)


def values(seed: int = 0) -> Values:
    """Random weights by Hugging Face's names."""
    random = np.random.default_rng(seed)
    width, inner = SHAPE.d_model, SHAPE.encoder_ffn_dim
    made: Values = {}

    def add(name: str, *shape: int) -> None:
        scale = 1.0 / np.sqrt(shape[-1] if len(shape) > 1 else width)
        made[name] = (random.standard_normal(shape) * scale).astype(np.float32)

    def norm(name: str) -> None:
        made[f"{name}.weight"] = random.uniform(0.5, 1.5, width).astype(np.float32)
        add(f"{name}.bias", width)

    def linear(name: str, rows: int, columns: int) -> None:
        add(f"{name}.weight", rows, columns)
        if not name.endswith("k_proj"):
            add(f"{name}.bias", rows)

    add("model.encoder.conv1.weight", width, SHAPE.num_mel_bins, 3)
    add("model.encoder.conv1.bias", width)
    add("model.encoder.conv2.weight", width, width, 3)
    add("model.encoder.conv2.bias", width)
    add("model.encoder.embed_positions.weight", AUDIO_POSITIONS, width)
    add("model.decoder.embed_positions.weight", SHAPE.max_target_positions, width)
    made["model.decoder.embed_tokens.weight"] = random.standard_normal(
        (SHAPE.vocab_size, width)
    ).astype(np.float32)
    for stack in ("encoder", "decoder"):
        attentions = ["self_attn"] if stack == "encoder" else ["self_attn", "encoder_attn"]
        for layer in range(2):
            at = f"model.{stack}.layers.{layer}"
            for attention in attentions:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    linear(f"{at}.{attention}.{part}", width, width)
                norm(f"{at}.{attention}_layer_norm")
            linear(f"{at}.fc1", inner, width)
            linear(f"{at}.fc2", width, inner)
            norm(f"{at}.final_layer_norm")
        norm(f"model.{stack}.layer_norm")
    return made


def write_hugging_face(
    folder: Path, made: Values | None = None, config: Mapping[str, object] = MappingProxyType({})
) -> Path:
    """Returns the file of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(made or values(), folder / "model.safetensors")
    shape = {name: getattr(SHAPE, name) for name in SHAPE.__struct_fields__}
    (folder / "config.json").write_text(json.dumps({**shape, **config}))
    generation = {"suppress_tokens": [1, 2], "begin_suppress_tokens": [32, END]}
    (folder / "generation_config.json").write_text(
        json.dumps(generation | {"is_multilingual": True, "alignment_heads": [[1, 0]]})
    )
    for name in ("normalizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    write_tokenizer(folder)
    return folder / "model.safetensors"


def write_ctranslate2(folder: Path, made: Values | None = None) -> Path:
    """Returns the file of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _by_ctranslate2(made or values())
    (folder / "model.bin").write_bytes(ctranslate2_file(tensors))
    config = {"suppress_ids": [1, 2], "suppress_ids_begin": [32, END], "alignment_heads": [[1, 0]]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocabulary.txt").write_text("")
    write_tokenizer(folder)
    return folder / "model.bin"


def write_tokenizer(folder: Path) -> None:
    letters = {letter: number for number, letter in enumerate(_alphabet())}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def ctranslate2_file(tensors: Tensors, specification: str = "WhisperSpec") -> bytes:
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    parts = [struct.pack("<I", 6), _text(specification), struct.pack("<II", 3, len(tensors))]
    for name, tensor in tensors.items():
        sizes = struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        kind = struct.pack("<BI", kinds[tensor.dtype.name], tensor.nbytes)
        parts += [_text(name), sizes, kind, tensor.tobytes()]
    aliases = struct.pack("<I", 1) + _text("alias/of") + _text(next(iter(tensors)))
    return b"".join([*parts, aliases])


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _by_ctranslate2(made: Values) -> Tensors:
    found: Tensors = {
        "encoder/num_heads": np.array(SHAPE.encoder_attention_heads, np.int16),
        "decoder/num_heads": np.array(SHAPE.decoder_attention_heads, np.int16),
        "decoder/embeddings/weight": made["model.decoder.embed_tokens.weight"],
    }

    def linear(to: str, *names: str) -> None:
        found[f"{to}/weight"] = np.concatenate([made[f"{name}.weight"] for name in names])
        nothing = np.zeros(SHAPE.d_model, np.float32)
        found[f"{to}/bias"] = np.concatenate([made.get(f"{n}.bias", nothing) for n in names])

    def norm(to: str, name: str) -> None:
        found[f"{to}/gamma"], found[f"{to}/beta"] = made[f"{name}.weight"], made[f"{name}.bias"]

    for number in (1, 2):
        for part in ("weight", "bias"):
            found[f"encoder/conv{number}/{part}"] = made[f"model.encoder.conv{number}.{part}"]
    for stack in ("encoder", "decoder"):
        positions = made[f"model.{stack}.embed_positions.weight"]
        found[f"{stack}/position_encodings/encodings"] = positions
        norm(f"{stack}/layer_norm", f"model.{stack}.layer_norm")
        for layer in range(2):
            at, to = f"model.{stack}.layers.{layer}", f"{stack}/layer_{layer}"
            own = [f"{at}.self_attn.{part}_proj" for part in "qkv"]
            linear(f"{to}/self_attention/linear_0", *own)
            linear(f"{to}/self_attention/linear_1", f"{at}.self_attn.out_proj")
            norm(f"{to}/self_attention/layer_norm", f"{at}.self_attn_layer_norm")
            if stack == "decoder":
                other = f"{at}.encoder_attn"
                linear(f"{to}/attention/linear_0", f"{other}.q_proj")
                linear(f"{to}/attention/linear_1", f"{other}.k_proj", f"{other}.v_proj")
                linear(f"{to}/attention/linear_2", f"{other}.out_proj")
                norm(f"{to}/attention/layer_norm", f"{other}_layer_norm")
            linear(f"{to}/ffn/linear_0", f"{at}.fc1")
            linear(f"{to}/ffn/linear_1", f"{at}.fc2")
            norm(f"{to}/ffn/layer_norm", f"{at}.final_layer_norm")
    return found
