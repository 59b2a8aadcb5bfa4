"""A forward pass of each family in plain NumPy, written from its configuration and tensors.

Shares nothing with the converter. Weights and configuration have the names of the hub.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class FamilyReference:
    def __init__(self, config: dict[str, Any], tensors: dict[str, npt.NDArray[np.float32]]) -> None:
        self._config = config
        self._weights = {name: values.astype(np.float64) for name, values in tensors.items()}
        self._gemma = config["model_type"].startswith("gemma")
        self._post_norms = self._gemma and config["model_type"] != "gemma"

    def logits(self, ids: list[int]) -> Array:
        """``[len(ids), vocabulary]``"""
        config, weights = self._config, self._weights
        x = weights["model.embed_tokens.weight"][ids] * config.get("embedding_multiplier", 1.0)
        if self._gemma:
            x = x * np.sqrt(config["hidden_size"])
        residual = config.get("residual_multiplier", 1.0)
        for layer in range(config["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            attended = self._attention(layer, self._norm(f"{at}input_layernorm", x))
            if self._post_norms:
                x = x + self._norm(f"{at}post_attention_layernorm", attended)
                read = self._mlp(at, self._norm(f"{at}pre_feedforward_layernorm", x))
                x = x + self._norm(f"{at}post_feedforward_layernorm", read)
            else:
                x = x + residual * attended
                read = self._mlp(at, self._norm(f"{at}post_attention_layernorm", x))
                x = x + residual * read
        head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        logits: Array = self._norm("model.norm", x) @ head.T / config.get("logits_scaling", 1.0)
        return self._capped(logits, "final_logit_softcapping")

    def _norm(self, name: str, x: Array) -> Array:
        weight = self._weights[f"{name}.weight"] + float(self._gemma)
        lengths: Array = np.sqrt((x * x).mean(-1, keepdims=True) + self._config["rms_norm_eps"])
        return x / lengths * weight

    def _capped(self, x: Array, key: str) -> Array:
        cap = self._config.get(key)
        return x if cap is None else cap * np.tanh(x / cap)

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights.get(f"{name}.bias", 0.0)

    def _attention(self, layer: int, x: Array) -> Array:
        config, at = self._config, f"model.layers.{layer}.self_attn."
        heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        size, length = config["head_dim"], len(x)
        if f"{at}qkv_proj.weight" in self._weights:
            q, k, v = np.split(
                self._linear(f"{at}qkv_proj", x), [heads * size, (heads + kv_heads) * size], -1
            )
        else:
            q, k, v = (self._linear(f"{at}{part}_proj", x) for part in "qkv")
        q, k, v = (part.reshape(length, -1, size) for part in (q, k, v))
        if f"{at}q_norm.weight" in self._weights:
            q, k = self._norm(f"{at}q_norm", q), self._norm(f"{at}k_norm", k)
        if config.get("no_rope_layers", [1] * (layer + 1))[layer]:
            q, k = self._rotate(layer, q), self._rotate(layer, k)
        k, v = k.repeat(heads // kv_heads, axis=1), v.repeat(heads // kv_heads, axis=1)
        plain = config.get("query_pre_attn_scalar", size) ** -0.5
        scale = config.get("attention_multiplier", plain)
        scores = np.einsum("qhd,khd->hqk", q, k) * scale
        scores = self._capped(scores, "attn_logit_softcapping")
        back = np.arange(length)[:, None] - np.arange(length)
        seen = back >= 0
        if self._is_sliding(layer):
            seen &= back < config["sliding_window"]
        scores = np.where(seen, scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", scores, v).reshape(length, -1)
        return self._linear(f"{at}o_proj", mixed)

    def _is_sliding(self, layer: int) -> bool:
        if self._config["model_type"] == "gemma3_text":
            return layer % 6 != 5
        if self._config["model_type"] == "gemma2":
            return layer % 2 == 0
        return self._config.get("sliding_window") is not None

    def _rotate(self, layer: int, x: Array) -> Array:
        """``[length, heads, size]``; a pair is half of the rotary channels apart."""
        config, length = self._config, len(x)
        scaling = config.get("rope_scaling") or {}
        base = config["rope_theta"]
        if config["model_type"] == "gemma3_text" and self._is_sliding(layer):
            base, scaling = config["rope_local_base_freq"], {}
        size = int(x.shape[-1] * config.get("partial_rotary_factor", 1.0))
        frequencies = np.array([base ** (-2 * n / size) for n in range(size // 2)])
        kind, amplitude = scaling.get("rope_type", scaling.get("type")), 1.0
        if kind == "linear":
            frequencies = frequencies / scaling["factor"]
        if kind == "llama3":
            frequencies = np.array([_llama3(each, scaling) for each in frequencies])
        if kind == "longrope":
            trained = config["original_max_position_embeddings"]
            factors = scaling["long_factor" if length > trained else "short_factor"]
            frequencies = frequencies / np.array(factors)
            stretch = config["max_position_embeddings"] / trained
            amplitude = np.sqrt(1 + np.log(stretch) / np.log(trained))
        if kind == "yarn":
            trained, factor = scaling["original_max_position_embeddings"], scaling["factor"]
            frequencies = np.array(
                [_yarn(n, each, base, size, trained, factor) for n, each in enumerate(frequencies)]
            )
            amplitude = 0.1 * np.log(factor) + 1
        angles = np.outer(np.arange(length), frequencies)[:, None, :]
        cos, sin = np.cos(angles) * amplitude, np.sin(angles) * amplitude
        first, second, rest = np.split(x, [size // 2, size], -1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], -1)

    def _mlp(self, at: str, x: Array) -> Array:
        if f"{at}mlp.gate_up_proj.weight" in self._weights:
            gate, up = np.split(self._linear(f"{at}mlp.gate_up_proj", x), 2, -1)
        else:
            gate, up = (self._linear(f"{at}mlp.{part}_proj", x) for part in ("gate", "up"))
        if self._gemma:
            cubic = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
            active = gate / 2 * (1 + np.tanh(cubic))
        else:
            active = gate / (1 + np.exp(-gate))
        return self._linear(f"{at}mlp.down_proj", active * up)


def _yarn(n: int, frequency: float, base: float, size: int, trained: int, factor: float) -> float:
    """The paper's "NTK by parts", between 32 turns and 1, on whole channels."""
    low, high = (
        size * np.log(trained / (2 * np.pi * turns)) / (2 * np.log(base)) for turns in (32, 1)
    )
    low, high = max(np.floor(low), 0), min(np.ceil(high), size - 1)
    kept = 1 - np.clip((n - low) / (high - low), 0, 1)
    return float(kept * frequency + (1 - kept) * frequency / factor)


def _llama3(frequency: float, scaling: dict[str, Any]) -> float:
    trained = scaling["original_max_position_embeddings"]
    length = 2 * np.pi / frequency
    if length < trained / scaling["high_freq_factor"]:
        return frequency
    if length > trained / scaling["low_freq_factor"]:
        return float(frequency / scaling["factor"])
    smooth = (trained / length - scaling["low_freq_factor"]) / (
        scaling["high_freq_factor"] - scaling["low_freq_factor"]
    )
    return float((1 - smooth) * frequency / scaling["factor"] + smooth * frequency)
