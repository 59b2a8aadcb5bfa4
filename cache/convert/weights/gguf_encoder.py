"""An encoder in a GGUF: its shape, and its tensors by the names of the hub."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.weights.decoder_shape import MAX_LAYERS, MAX_SIZE
from cupola.cache.convert.weights.encoder_shape import EncoderShape, EncoderTraits, Positions
from cupola.cache.errors import BrokenFileError, UnsupportedError

# By general.architecture. The layers of "bert" are those of XLM-RoBERTa, too.
_TRAITS: Mapping[str, EncoderTraits] = MappingProxyType(
    {
        "bert": EncoderTraits(),
        "jina-bert-v2": EncoderTraits(Positions.ALIBI, gate="Gelu", all_biases=False),
        "nomic-bert": EncoderTraits(Positions.ROTARY, gate="Silu", all_biases=False),
    }
)
ENCODERS = tuple(_TRAITS)
# By pooling_type, as sentence transformers call them. 0 leaves it to the user, who usually means 1.
_POOLING = {0: "mean_tokens", 1: "mean_tokens", 2: "cls_token", 3: "lasttoken"}
_UNSAID, _RANK = 0, 4
_DENSE, _CLASSIFIER = "cls.weight", "cls.output.weight"  # the layers that score a pair
_RANKS = ("BertForSequenceClassification",)  # what a config.json calls a model with such layers

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.position_embeddings": "position_embd",
        "embeddings.token_type_embeddings": "token_types",
        "embeddings.LayerNorm": "token_embd_norm",
        "attention.self.qkv": "attn_qkv",
        "attention.self.query": "attn_q",
        "attention.self.key": "attn_k",
        "attention.self.value": "attn_v",
        "attention.self.query_norm": "attn_q_norm",
        "attention.self.key_norm": "attn_k_norm",
        "attention.output.dense": "attn_output",
        "attention.output.LayerNorm": "attn_output_norm",
        "attention.again": "attn_norm_2",
        "intermediate.gate": "ffn_gate",
        "intermediate.dense": "ffn_up",
        "output.dense": "ffn_down",
        "output.LayerNorm": "layer_output_norm",
        "pooler.dense": "cls",
        "classifier": "cls.output",
    }
)
_PLACE = re.compile(r"(?:encoder\.layer\.(\d+)\.)?(.+)\.(weight|bias)")


def is_encoder(gguf: GgufFile) -> bool:
    """Whether it makes vectors of texts or ranks them, and writes none."""
    return gguf.architecture in ENCODERS


def ranks(gguf: GgufFile) -> bool:
    """Whether an encoder scores pairs of texts. Files of some converters only have the layers."""
    pooling = gguf.get(f"{gguf.architecture}.pooling_type", int, _UNSAID)
    has_layers = _DENSE in gguf.tensors or _CLASSIFIER in gguf.tensors
    return pooling == _RANK or (pooling == _UNSAID and has_layers)


def encoder_traits(gguf: GgufFile) -> EncoderTraits:
    """What the layers of a file's family are. Raises UnsupportedError."""
    at = gguf.architecture
    traits = _TRAITS[at]
    if traits.positions is Positions.ROTARY:
        if (scaling := gguf.get(f"{at}.rope.scaling.type", str, "none")) != "none":
            raise UnsupportedError(f"{gguf.path} stretches its positions by '{scaling}'")
        base = gguf.get(f"{at}.rope.freq_base", float, traits.rope_base)
        if not 1 < base < math.inf:
            raise BrokenFileError(f"{gguf.path}: '{at}.rope.freq_base' is {base}")
        traits = replace(traits, rope_base=base)
    if at == "bert" and ranks(gguf) and _DENSE not in gguf.tensors:
        raise UnsupportedError(
            f"{gguf.path} lacks the layer in front of its classifier, which the program that made "
            "it leaves out: its scores would be wrong. Take the model's safetensors"
        )
    return traits if _CLASSIFIER in gguf.tensors else replace(traits, classifier="")


def encoder_shape(gguf: GgufFile) -> EncoderShape:
    """Raises BrokenFileError for missing or impossible sizes, UnsupportedError."""
    at = gguf.architecture
    if gguf.get(f"{at}.attention.causal", bool, False):
        raise UnsupportedError(f"{gguf.path} is a '{at}' that reads texts in one direction only")
    embedding = gguf.tensors.get("token_embd.weight")
    if embedding is None:
        raise BrokenFileError(f"{gguf.path} lacks the tensor 'token_embd.weight'")
    shape = EncoderShape(
        model_type="bert",
        vocab_size=embedding.row_count,
        hidden_size=_size(gguf, f"{at}.embedding_length"),
        intermediate_size=_size(gguf, f"{at}.feed_forward_length"),
        num_hidden_layers=_size(gguf, f"{at}.block_count", MAX_LAYERS),
        num_attention_heads=_size(gguf, f"{at}.attention.head_count"),
        max_position_embeddings=_size(gguf, f"{at}.context_length"),
        layer_norm_eps=gguf.get(f"{at}.attention.layer_norm_epsilon", float),
        type_vocab_size=gguf.get("tokenizer.ggml.token_type_count", int, 1),
        architectures=_RANKS if ranks(gguf) else (),
    )
    if shape.hidden_size % shape.num_attention_heads:
        raise BrokenFileError(f"{gguf.path} has heads that do not divide the hidden size")
    shape.check_epsilon(gguf.path)
    return shape


def pooling_of(gguf: GgufFile) -> str:
    """How a text's vector is made of those of its tokens. Raises UnsupportedError."""
    kind = gguf.get(f"{gguf.architecture}.pooling_type", int, 1)
    if kind not in _POOLING:
        raise UnsupportedError(f"{gguf.path} has the unknown pooling_type {kind}")
    return _POOLING[kind]


class GgufEncoder:
    """The tensors of a file under the names that the hub has for them, each read as a whole."""

    def __init__(self, gguf: GgufFile) -> None:
        self._path = gguf.path
        self._tensors = gguf.tensors

    def __contains__(self, name: str) -> bool:
        return _name_in_file(name) in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Raises BrokenFileError when the tensor is missing, damaged or has another shape."""
        own = _name_in_file(name)
        tensor = self._tensors.get(own)
        if tensor is None:
            raise BrokenFileError(f"{self._path} lacks the tensor '{own}'")
        if tensor.shape != shape:
            raise BrokenFileError(f"{self._path}: '{own}' is {tensor.shape}, not {shape}")
        return np.asarray(tensor.rows().reshape(shape), dtype=np.float32)


def _name_in_file(name: str) -> str:
    found = _PLACE.fullmatch(name)
    if found is None:
        return name
    layer, place, kind = found.groups()
    block = "" if layer is None else f"blk.{layer}."
    return f"{block}{_NAMES.get(place, place)}.{kind}"


def _size(gguf: GgufFile, key: str, limit: int = MAX_SIZE) -> int:
    value = gguf.get(key, int)
    if not 0 < value <= limit:
        raise BrokenFileError(f"{gguf.path}: '{key}' is {value}")
    return value
