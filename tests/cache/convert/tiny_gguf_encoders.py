"""Tiny encoders in GGUF files, with the names and metadata that llama.cpp's converter writes.

``hidden`` and ``score`` are their forward passes in NumPy, written from llama.cpp's graphs, one
text at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.cache.convert.tiny_bert_gguf import add_value, phantom
from tests.tiny_encoder import WORDS

WIDTH, INNER, LAYERS, CONTEXT, EPS = 48, 80, 2, 40, 1e-5
Values = NDArray[np.float32]
_erf = np.vectorize(math.erf, otypes=[np.float32])


@dataclass
class TinyEncoder:
    """One file. ``heads``: a number that is no power of two has other distances in ALiBi."""

    architecture: str = "bert"
    heads: int = 6
    ranks: bool = False
    tokenizer: str = "bert"
    types: int = 2
    fused: bool = False  # queries, keys and values are one tensor
    gate_apart: bool = False  # of jina-bert-v2: as old converters wrote it
    norms: bool = False  # of jina-bert-v2: as the models for code have them
    tensors: dict[str, Values] = field(default_factory=dict)

    def write(self, path: Path, **metadata: Any) -> TinyEncoder:
        """``metadata``: by whole key, with "__" for a point; None leaves one out."""
        words, texts = self._vocabulary()
        self.tensors = self._made(len(words))
        writer = gguf.GGUFWriter(path, self.architecture)
        at = self.architecture
        values: dict[str, Any] = {
            f"{at}.block_count": LAYERS,
            f"{at}.context_length": CONTEXT,
            f"{at}.embedding_length": WIDTH,
            f"{at}.feed_forward_length": INNER,
            f"{at}.attention.head_count": self.heads,
            f"{at}.attention.layer_norm_epsilon": EPS,
            f"{at}.attention.causal": False,
            f"{at}.pooling_type": 4 if self.ranks else 1,
            f"{at}.rope.freq_base": 1000.0 if at == "nomic-bert" else None,
            "tokenizer.ggml.token_type_count": self.types,
            **texts,
        }
        for key, value in {**values, **metadata}.items():
            key = key.replace("__", ".")
            add_value(writer, key, value)
        for name, tensor in self.tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return self

    def hidden(self, ids: list[int]) -> Values:
        """[S, WIDTH]"""
        get = self.tensors
        x = get["token_embd.weight"][ids] + get["token_types.weight"][0]
        if self.architecture == "bert":
            x = x + get["position_embd.weight"][: len(ids)]
        x = self._norm(x, "token_embd_norm")
        for layer in range(LAYERS):
            at = f"blk.{layer}"
            joined = self._norm(x + self._attention(x, at), f"{at}.attn_output_norm")
            if f"{at}.attn_norm_2.weight" in get:
                joined = self._norm(x + joined, f"{at}.attn_norm_2")
            x = self._norm(joined + self._feed_forward(joined, at), f"{at}.layer_output_norm")
        return x

    def score(self, ids: list[int]) -> float:
        """What a model that ranks says of a pair."""
        value = np.tanh(self._dense(self.hidden(ids)[0], "cls"))
        return float(
            self._dense(value, "cls.output")[0] if self.architecture == "bert" else value[0]
        )

    def _attention(self, x: Values, at: str) -> Values:
        if self.fused:
            parts = np.split(self._dense(x, f"{at}.attn_qkv"), 3, axis=1)
        else:
            parts = [self._dense(x, f"{at}.attn_{part}") for part in "qkv"]
        if self.norms:
            parts[0] = self._norm(parts[0], f"{at}.attn_q_norm")
            parts[1] = self._norm(parts[1], f"{at}.attn_k_norm")
        q, k, v = (part.reshape(len(x), self.heads, -1).transpose(1, 0, 2) for part in parts)
        if self.architecture == "nomic-bert":
            q, k = _rotated(q), _rotated(k)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        if self.architecture == "jina-bert-v2":
            places = np.arange(len(x))
            far = np.abs(places[:, None] - places[None])
            scores = scores - _slopes(self.heads)[:, None, None] * far
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ v).transpose(1, 0, 2).reshape(len(x), WIDTH)
        return self._dense(mixed.astype(np.float32), f"{at}.attn_output")

    def _feed_forward(self, x: Values, at: str) -> Values:
        up = self._dense(x, f"{at}.ffn_up")
        if self.architecture == "bert":
            active = _gelu(up)
        elif self.architecture == "nomic-bert":
            gate = self._dense(x, f"{at}.ffn_gate")
            active = gate / (1 + np.exp(-gate)) * up
        elif self.gate_apart:
            active = _gelu(self._dense(x, f"{at}.ffn_gate")) * up
        else:
            active = _gelu(up[:, :INNER]) * up[:, INNER:]
        return self._dense(active, f"{at}.ffn_down")

    def _dense(self, x: Values, name: str) -> Values:
        made = x @ self.tensors[f"{name}.weight"].T
        bias = self.tensors.get(f"{name}.bias")
        return made if bias is None else made + bias

    def _norm(self, x: Values, name: str) -> Values:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)
        scaled = np.asarray(scaled * self.tensors[f"{name}.weight"], np.float32)
        return scaled + self.tensors[f"{name}.bias"]

    def _made(self, words: int) -> dict[str, Values]:
        """Random tensors in the names of llama.cpp."""
        at, jina = self.architecture, self.architecture == "jina-bert-v2"
        dense: dict[str, tuple[int, int, bool]] = {}
        norms = ["token_embd_norm"]
        for layer in range(LAYERS):
            blk = f"blk.{layer}"
            plain = at != "nomic-bert"
            if self.fused:
                dense[f"{blk}.attn_qkv"] = (3 * WIDTH, WIDTH, plain)
            else:
                dense |= {f"{blk}.attn_{part}": (WIDTH, WIDTH, plain) for part in "qkv"}
            dense[f"{blk}.attn_output"] = (WIDTH, WIDTH, plain)
            if jina and not self.gate_apart:
                dense[f"{blk}.ffn_up"] = (2 * INNER, WIDTH, False)
            else:
                dense[f"{blk}.ffn_up"] = (INNER, WIDTH, at == "bert")
            if at == "nomic-bert" or self.gate_apart:
                dense[f"{blk}.ffn_gate"] = (INNER, WIDTH, False)
            dense[f"{blk}.ffn_down"] = (WIDTH, INNER, plain)
            norms += [f"{blk}.attn_output_norm", f"{blk}.layer_output_norm"]
            if self.norms:
                norms += [f"{blk}.{name}" for name in ("attn_q_norm", "attn_k_norm", "attn_norm_2")]
        if self.ranks:
            dense["cls"] = (1 if jina else WIDTH, WIDTH, True)
        if self.ranks and not jina:
            dense["cls.output"] = (1, WIDTH, True)
        shapes: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (words, WIDTH),
            "token_types.weight": (self.types, WIDTH),
        }
        if at == "bert":
            shapes["position_embd.weight"] = (CONTEXT, WIDTH)
        for name, (rows, columns, biased) in dense.items():
            shapes[f"{name}.weight"] = (rows, columns)
            if biased:
                shapes[f"{name}.bias"] = (rows,)
        random = np.random.default_rng(5)
        made = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
        for name in norms:
            made[f"{name}.weight"] = random.normal(1, 0.2, WIDTH)
            made[f"{name}.bias"] = random.normal(0, 0.2, WIDTH)
        return {name: value.astype(np.float32) for name, value in made.items()}

    def _vocabulary(self) -> tuple[list[str], dict[str, Any]]:
        """The tokens, and the metadata about them."""
        if self.tokenizer == "t5":
            return unigram()
        if self.tokenizer == "gpt2":
            return _bytes()
        keys = {"cls": "[CLS]", "seperator": "[SEP]", "unknown": "[UNK]", "padding": "[PAD]"}
        return WORDS, {
            "tokenizer.ggml.model": "bert",
            "tokenizer.ggml.tokens": [phantom(word) for word in WORDS],
            "tokenizer.ggml.token_type": [3 if word.startswith("[") else 1 for word in WORDS],
            **{f"tokenizer.ggml.{key}_token_id": WORDS.index(word) for key, word in keys.items()},
        }


def unigram() -> tuple[list[str], dict[str, Any]]:
    """A vocabulary in XLM-RoBERTa's order, and the metadata about it."""
    letters = "▁abcdefghijklmnopqrstuvwxyz"
    pieces = [
        *letters,
        "▁the",
        "▁cat",
        "▁do",
        "og",
        "at",
        "▁a",
        "way",
        "and",
        "ran",
        "▁ran",
        "▁sat",
    ]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    scores = [0.0] * 4 + [-2 - number % 7 - len(piece) / 8 for number, piece in enumerate(pieces)]
    numbers = {"bos": 0, "eos": 2, "seperator": 2, "padding": 1, "unknown": 3}
    return tokens, {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": [3, 3, 3, 2] + [1] * (len(tokens) - 4),
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.remove_extra_whitespaces": True,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": True,
        "tokenizer.ggml.add_sep_token": True,
        **{f"tokenizer.ggml.{role}_token_id": number for role, number in numbers.items()},
    }


def _bytes() -> tuple[list[str], dict[str, Any]]:
    """A small byte-level vocabulary with RoBERTa's marks, and the metadata about it."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *"Ġabcdefghijklmnopqrstuvwxyz", "at", "Ġc", "Ġcat"]
    return tokens, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "jina-v1-en",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, 3] + [1] * (len(tokens) - 4),
        "tokenizer.ggml.merges": ["a t", "Ġ c", "Ġc at"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
    }


def _gelu(x: Values) -> Values:
    return np.asarray(x * (1 + _erf(x / math.sqrt(2))) / 2, np.float32)


def _rotated(x: Values) -> Values:
    """``[heads, S, D]``: the first half of a head turns with the second one."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] * 1000.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angles), np.sin(angles)
    one, other = x[..., :half], x[..., half:]
    turned = np.concatenate([one * cos - other * sin, other * cos + one * sin], -1)
    return turned.astype(np.float32)


def _slopes(heads: int) -> Values:
    even = 2 ** math.floor(math.log2(heads))
    first, second = 2 ** (-8 / even), 2 ** (-4 / even)
    found = [first ** (h + 1) if h < even else second ** (2 * (h - even) + 1) for h in range(heads)]
    return np.array(found, np.float32)
