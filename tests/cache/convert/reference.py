"""A decoder's forward pass in plain NumPy float32, straight from a GGUF.

Shares nothing with the converter: the file is read with ``gguf.GGUFReader``, and rotary pairs are
neighbours, as the rows lie in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Reference:
    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self._architecture = reader.fields["general.architecture"].contents()
        self._fields = reader.fields
        self._weights: dict[str, Array] = {
            tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            for tensor in reader.tensors
        }

    @property
    def weights(self) -> dict[str, Array]:
        """By their names in the file. A test may replace them."""
        return self._weights

    def logits(self, ids: list[int]) -> Array:
        """``[len(ids), vocabulary]``"""
        weights = self._weights
        hidden = weights["token_embd.weight"][ids]
        for layer in range(self._field("block_count")):
            at = f"blk.{layer}."
            hidden = hidden + self._attention(at, self._norm(f"{at}attn_norm.weight", hidden))
            hidden = hidden + self._mlp(at, self._norm(f"{at}ffn_norm.weight", hidden))
        head = weights.get("output.weight", weights["token_embd.weight"])
        return self._norm("output_norm.weight", hidden) @ head.T

    def _field(self, name: str) -> Any:
        return self._fields[f"{self._architecture}.{name}"].contents()

    def _norm(self, weight: str, x: Array) -> Array:
        epsilon = np.float32(self._field("attention.layer_norm_rms_epsilon"))
        lengths: Array = np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
        return x / lengths * self._weights[weight]

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights.get(
            f"{name}.bias", np.float32(0)
        )

    def _attention(self, at: str, x: Array) -> Array:
        heads, kv_heads = (
            self._field("attention.head_count"),
            self._field("attention.head_count_kv"),
        )
        length = len(x)
        q = self._linear(f"{at}attn_q", x).reshape(length, heads, -1)
        k = self._linear(f"{at}attn_k", x).reshape(length, kv_heads, -1)
        if f"{at}attn_q_norm.weight" in self._weights:
            q = self._norm(f"{at}attn_q_norm.weight", q)
            k = self._norm(f"{at}attn_k_norm.weight", k)
        q, k = self._rotate(q), self._rotate(k)
        v = self._linear(f"{at}attn_v", x).reshape(length, kv_heads, -1)
        k, v = k.repeat(heads // kv_heads, axis=1), v.repeat(heads // kv_heads, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.float32(np.sqrt(q.shape[-1]))
        scores = np.where(np.tri(length, dtype=bool), scores, np.float32(-np.inf))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", scores, v).reshape(length, -1)
        return self._linear(f"{at}attn_output", mixed)

    def _rotate(self, x: Array) -> Array:
        """``[length, heads, size]``; llama's pairs are neighbours, qwen's half a head apart."""
        length, _, size = x.shape
        frequencies = self._field("rope.freq_base") ** -(np.arange(0, size, 2) / size)
        if "rope_freqs.weight" in self._weights:
            frequencies = frequencies / self._weights["rope_freqs.weight"]
        angles = np.outer(np.arange(length), frequencies)[:, None, :]
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        paired = self._architecture == "llama"
        first, second = (
            (x[..., 0::2], x[..., 1::2]) if paired else (x[..., : size // 2], x[..., size // 2 :])
        )
        turned = (first * cos - second * sin, first * sin + second * cos)
        if paired:
            return np.stack(turned, axis=-1).reshape(x.shape)
        return np.concatenate(turned, axis=-1)

    def _mlp(self, at: str, x: Array) -> Array:
        gate = self._linear(f"{at}ffn_gate", x)
        up = self._linear(f"{at}ffn_up", x)
        return self._linear(f"{at}ffn_down", self.activation(gate) * up)

    def activation(self, x: Array) -> Array:
        """SiLU."""
        return (x / (np.float32(1) + np.exp(-x))).astype(np.float32)
