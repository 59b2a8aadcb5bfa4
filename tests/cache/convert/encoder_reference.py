"""BERT in NumPy, float32, one text at a time: what the graph must agree with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cupola.cache.convert.formats.safetensors_file import SafetensorsFile
from cupola.cache.convert.weights.encoder_shape import EncoderShape

Values = NDArray[np.float32]
_erf = np.vectorize(math.erf, otypes=[np.float32])


class EncoderReference:
    def __init__(self, weights: Path, shape: EncoderShape, prefix: str = "") -> None:
        """``prefix``: of the encoder's names in the file."""
        self._file = SafetensorsFile(weights)
        self._shape = shape
        self._prefix = prefix

    def score(self, ids: list[int], types: list[int]) -> float:
        """What a cross-encoder says of a pair."""
        width = self._shape.hidden_size
        pooled = np.tanh(self._dense(self.hidden(ids, types)[0], "pooler.dense", width, width))
        weight = self._file.tensor("classifier.weight", (1, width))
        return float((pooled @ weight.T + self._file.tensor("classifier.bias", (1,)))[0])

    def hidden(self, ids: list[int], types: list[int] | None = None) -> Values:
        """[S, H]"""
        width = self._shape.hidden_size
        words = self._get("embeddings.word_embeddings.weight", self._shape.vocab_size, width)
        places = self._get(
            "embeddings.position_embeddings.weight", self._shape.max_position_embeddings, width
        )
        kinds = self._get(
            "embeddings.token_type_embeddings.weight", self._shape.type_vocab_size, width
        )
        x = self._norm(
            words[ids] + places[: len(ids)] + kinds[types or [0] * len(ids)], "embeddings.LayerNorm"
        )
        for layer in range(self._shape.num_hidden_layers):
            x = self._layer(x, f"encoder.layer.{layer}")
        return x

    def _layer(self, x: Values, at: str) -> Values:
        width, inner = self._shape.hidden_size, self._shape.intermediate_size
        heads = self._shape.num_attention_heads
        q, k, v = (
            self._dense(x, f"{at}.attention.self.{part}", width, width)
            .reshape(len(x), heads, -1)
            .transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ v).transpose(1, 0, 2).reshape(len(x), width)
        mixed = self._dense(mixed, f"{at}.attention.output.dense", width, width)
        x = self._norm(x + mixed, f"{at}.attention.output.LayerNorm")
        grown = self._dense(x, f"{at}.intermediate.dense", inner, width)
        grown = grown * (1 + _erf(grown / math.sqrt(2))) / 2
        return self._norm(
            x + self._dense(grown, f"{at}.output.dense", width, inner), f"{at}.output.LayerNorm"
        )

    def _dense(self, x: Values, at: str, out: int, width: int) -> Values:
        return x @ self._get(f"{at}.weight", out, width).T + self._get(f"{at}.bias", out)

    def _norm(self, x: Values, at: str) -> Values:
        width = self._shape.hidden_size
        centred = x - x.mean(-1, keepdims=True)
        scaled: Values = centred / np.sqrt(
            (centred**2).mean(-1, keepdims=True) + self._shape.layer_norm_eps
        )
        return scaled * self._get(f"{at}.weight", width) + self._get(f"{at}.bias", width)

    def _get(self, name: str, *shape: int) -> Values:
        return self._file.tensor(self._prefix + name, shape)
