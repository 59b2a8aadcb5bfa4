"""A Whisper in plain NumPy float32, written from the paper and from no graph."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tests.tiny_whisper import SHAPE, Values

Array = npt.NDArray[np.float32]
_erf = np.vectorize(math.erf, otypes=[np.float32])


class WhisperReference:
    def __init__(self, values: Values) -> None:
        self._values = values

    def audio(self, features: Array) -> Array:
        """Hidden states ``[1500, width]`` of a spectrogram ``[mel bins, 3000]``."""
        x = _gelu(self._convolution(features, 1, 1))
        x = _gelu(self._convolution(x, 2, 2)).T
        x = x + self._values["model.encoder.embed_positions.weight"]
        for layer in range(SHAPE.encoder_layers):
            at = f"model.encoder.layers.{layer}"
            normed = self._norm(x, f"{at}.self_attn_layer_norm")
            x = x + self._attention(normed, normed, f"{at}.self_attn", causal=False)
            x = x + self._mlp(x, at)
        return self._norm(x, "model.encoder.layer_norm")

    def logits(self, tokens: list[int], audio: Array) -> Array:
        """``[tokens, vocabulary]``."""
        table = self._values["model.decoder.embed_tokens.weight"]
        x = table[tokens] + self._values["model.decoder.embed_positions.weight"][: len(tokens)]
        for layer in range(SHAPE.decoder_layers):
            at = f"model.decoder.layers.{layer}"
            normed = self._norm(x, f"{at}.self_attn_layer_norm")
            x = x + self._attention(normed, normed, f"{at}.self_attn", causal=True)
            normed = self._norm(x, f"{at}.encoder_attn_layer_norm")
            x = x + self._attention(normed, audio, f"{at}.encoder_attn", causal=False)
            x = x + self._mlp(x, at)
        return self._norm(x, "model.decoder.layer_norm") @ table.T

    def _attention(self, x: Array, of: Array, at: str, causal: bool) -> Array:
        heads = SHAPE.decoder_attention_heads
        queries = self._heads(self._linear(x, f"{at}.q_proj"), heads)
        keys = self._heads(self._linear(of, f"{at}.k_proj"), heads)
        values = self._heads(self._linear(of, f"{at}.v_proj"), heads)
        scores = queries @ keys.transpose(0, 2, 1) / np.float32(math.sqrt(queries.shape[-1]))
        if causal:
            scores = scores + np.triu(np.full(scores.shape[1:], -np.inf, np.float32), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        joined = (weights @ values).transpose(1, 0, 2).reshape(len(x), -1)
        return self._linear(joined, f"{at}.out_proj")

    def _mlp(self, x: Array, at: str) -> Array:
        normed = self._norm(x, f"{at}.final_layer_norm")
        return self._linear(_gelu(self._linear(normed, f"{at}.fc1")), f"{at}.fc2")

    def _linear(self, x: Array, at: str) -> Array:
        return x @ self._values[f"{at}.weight"].T + self._values.get(f"{at}.bias", np.float32(0))

    def _norm(self, x: Array, at: str) -> Array:
        mean, spread = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(spread + np.float32(1e-5))
        return np.asarray(
            scaled * self._values[f"{at}.weight"] + self._values[f"{at}.bias"], np.float32
        )

    def _convolution(self, x: Array, number: int, stride: int) -> Array:
        kernel = self._values[f"model.encoder.conv{number}.weight"]
        padded = np.pad(x, ((0, 0), (1, 1)))
        count = x.shape[1] // stride
        out = sum(
            kernel[:, :, tap] @ padded[:, tap : tap + stride * count : stride] for tap in range(3)
        )
        return np.asarray(out + self._values[f"model.encoder.conv{number}.bias"][:, None])

    @staticmethod
    def _heads(x: Array, heads: int) -> Array:
        return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def _gelu(x: Array) -> Array:
    return np.asarray(x * (1 + _erf(x / np.float32(math.sqrt(2)))) / 2, np.float32)
