"""The JSON files that make a folder a model folder, and the writing of small files.

``genai_config.json`` is onnxruntime-genai's. ``inference_model.json`` is Foundry Local's: its
``Name`` is the model's id. Foundry Local ignores the further keys that Cupola writes there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.tokenizer.model_tokenizer import ModelTokenizer
from cupola.cache.convert.weights.decoder_shape import DecoderShape
from cupola.cache.errors import BrokenFileError
from cupola.cache.progress import Progress

Json = dict[str, Any]
_T = TypeVar("_T")


def read_json(path: Path, kind: type[_T]) -> _T:
    """What one of the files beside the weights says. Raises BrokenFileError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise BrokenFileError(f"{path.name} is missing beside the weights") from None
    except msgspec.MsgspecError as error:
        raise BrokenFileError(f"{path.name}: {error}") from None


def advancing(total: int, progress: Progress) -> Callable[[int], None]:
    """Something that hears how many bytes were written, and tells how far the conversion is."""
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress("convert", min(done, total), total)

    return advance


def write_json(path: Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Writes ``content`` and waits until it is on the disk. Raises OSError."""
    write_bytes(path, json.dumps(content, ensure_ascii=False, indent=2).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content`` and waits until it is on the disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def genai_config(
    genai_type: str,
    shape: DecoderShape,
    tokenizer: ModelTokenizer,
    parameters: Mapping[str, float] = MappingProxyType({}),
) -> Json:
    """The content of ``genai_config.json`` as onnxruntime-genai's model builder writes it.

    It is for a decoder on a CPU. ``parameters``: defaults for sampling.
    """
    ends = tokenizer.ends
    pad = tokenizer.pad
    return {
        "model": {
            "bos_token_id": tokenizer.bos,
            "context_length": shape.context_length,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": "model.onnx",
                "head_size": shape.head_size,
                "hidden_size": shape.hidden,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": shape.heads,
                "num_hidden_layers": shape.layers,
                "num_key_value_heads": shape.kv_heads,
            },
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": pad if pad is not None else (ends[0] if ends else 0),
            "type": genai_type,
            "vocab_size": shape.vocabulary,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": bool(parameters),  # the variant has parameters of its own
            "early_stopping": True,
            "length_penalty": 1.0,
            "max_length": shape.context_length,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": True,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        }
        | dict(parameters),
    }


def inference_model(variant: ModelVariant, chat_template: str, source_sha256: str) -> Json:
    """The content of ``inference_model.json``."""
    return {
        "Name": variant.id,
        "PromptTemplate": prompt_template(chat_template),
        "Alias": variant.alias,
        "DisplayName": variant.display_name,
        "License": variant.license,
        "SourceSha256": source_sha256,
    }


def prompt_template(chat_template: str) -> dict[str, str] | None:
    """The template in Foundry Local's old form, for clients that read that one.

    Only ChatML can be expressed in it. Cupola itself uses the Jinja template.
    """
    if "<|im_start|>" not in chat_template:
        return None
    return {
        "system": "<|im_start|>system\n{Content}<|im_end|>\n",
        "user": "<|im_start|>user\n{Content}<|im_end|>\n",
        "assistant": "<|im_start|>assistant\n{Content}<|im_end|>\n",
        "prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant\n",
    }
