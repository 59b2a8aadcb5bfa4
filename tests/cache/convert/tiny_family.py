"""Random small decoders of each family, in the names and the configuration of its repositories.

``write_folder`` writes what a repository of the hub has. ``write_gguf`` writes what llama.cpp's
converter makes of it: other names, q and k in another order for some, Gemma's norms plus one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.cache.convert.tiny_gguf import CHAT_TEMPLATE, MERGES, SPECIAL, TinyModel
from tests.tiny_encoder import safetensors

Array = npt.NDArray[np.float32]

WINDOW = 5
SHORT = 8  # tokens that Phi's first rotary table serves
# Tokens that the references read. The second text is longer than the window, and than SHORT.
_IDS = [1, 72, 5, 260, 33, 99, 100]
TEXTS = (_IDS, _IDS * 2)


@dataclass(frozen=True)
class TinyFamily:
    """``config``: what is added to config.json. ``gguf_keys``: the same for a GGUF."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    gguf_keys: dict[str, Any] = field(default_factory=dict)
    architecture: str = ""  # in a GGUF; empty: the name; "-": there is none
    layers: int = 2
    head_size: int = 16
    tied: bool = False
    fused: bool = False
    head_norms: bool = False
    post_norms: bool = False
    biases: bool = False
    permuted: bool = False
    norms_from_one: bool = False
    gguf_tensors: dict[str, Array] = field(default_factory=dict)
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 96
    context: int = 64
    seed: int = 1

    @property
    def full_config(self) -> dict[str, Any]:
        return {
            "model_type": self.name,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "num_hidden_layers": self.layers,
            "head_dim": self.head_size,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied,
            "vocab_size": TinyModel().vocabulary,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **self.config,
        }

    def tensors(self) -> dict[str, Array]:
        """By their names in a repository."""
        vocabulary = TinyModel().vocabulary
        rows, kv_rows = self.heads * self.head_size, self.kv_heads * self.head_size
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (vocabulary, self.hidden)
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            attention, mlp = f"{at}self_attn.", f"{at}mlp."
            shapes |= {
                f"{at}input_layernorm.weight": (self.hidden,),
                f"{at}post_attention_layernorm.weight": (self.hidden,),
                f"{attention}o_proj.weight": (self.hidden, rows),
                f"{mlp}down_proj.weight": (self.hidden, self.intermediate),
            }
            if self.fused:
                shapes[f"{attention}qkv_proj.weight"] = (rows + 2 * kv_rows, self.hidden)
                shapes[f"{mlp}gate_up_proj.weight"] = (2 * self.intermediate, self.hidden)
            else:
                for part, size in (("q", rows), ("k", kv_rows), ("v", kv_rows)):
                    shapes[f"{attention}{part}_proj.weight"] = (size, self.hidden)
                    if self.biases:
                        shapes[f"{attention}{part}_proj.bias"] = (size,)
                for part in ("gate", "up"):
                    shapes[f"{mlp}{part}_proj.weight"] = (self.intermediate, self.hidden)
            if self.head_norms:
                shapes |= {f"{attention}{p}_norm.weight": (self.head_size,) for p in "qk"}
            if self.post_norms:
                shapes |= {
                    f"{at}{place}_feedforward_layernorm.weight": (self.hidden,)
                    for place in ("pre", "post")
                }
        random = np.random.default_rng(self.seed)
        return {name: self._values(name, shape, random) for name, shape in shapes.items()}

    def _values(self, name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        values = random.standard_normal(shape, np.float32)
        if "norm" in name:
            values = np.float32(not self.norms_from_one) + np.float32(0.2) * values
        elif "embed" not in name and not name.endswith("bias"):
            values = values * np.float32(shape[-1] ** -0.5)
        # What bfloat16 can hold, so that files of any kind have the same weights.
        bits = values.view(np.uint32)
        rounded: Array = (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).view(np.float32)
        return rounded

    def write_folder(self, folder: Path, *, parts: int = 1, kind: str = "BF16") -> Path:
        """Writes config, tokenizer and weights of the type ``kind``. Returns the config's path."""
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(self.full_config))
        (folder / "tokenizer.json").write_text(tiny_tokenizer().to_str())
        about = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
        (folder / "tokenizer_config.json").write_text(
            json.dumps({**about, "chat_template": CHAT_TEMPLATE})
        )
        tensors: dict[str, npt.NDArray[Any]] = dict(self.tensors())
        if kind == "BF16":
            upper = {name: values.view(np.uint32) >> 16 for name, values in tensors.items()}
            tensors = {name: values.astype(np.uint16) for name, values in upper.items()}
        if parts == 1:
            (folder / "model.safetensors").write_bytes(safetensors(tensors, kind))
            return folder / "config.json"
        names = list(tensors)
        files = {
            f"model-{n + 1:05}-of-{parts:05}.safetensors": names[n::parts] for n in range(parts)
        }
        for file, inside in files.items():
            part = {name: tensors[name] for name in inside}
            (folder / file).write_bytes(safetensors(part, kind))
        weight_map = {name: file for file, inside in files.items() for name in inside}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return folder / "config.json"

    def write_gguf(self, path: Path) -> Path:
        """The same model as llama.cpp's converter writes it."""
        name = self.architecture or self.name
        config = self.full_config
        keys = {
            f"{name}.attention.key_length": self.head_size,
            f"{name}.attention.value_length": self.head_size,
            f"{name}.rope.freq_base": config["rope_theta"],
            **{f"{name}.{key}": value for key, value in self.gguf_keys.items()},
        }
        model = _Renamed(
            architecture=name,
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=self.kv_heads,
            intermediate=self.intermediate,
            context=self.context,
            metadata=keys,
            renamed={**self._gguf_tensors(), **self.gguf_tensors},
        )
        return model.write(path)

    def _gguf_tensors(self) -> dict[str, Array]:
        names = {
            "model.embed_tokens": "token_embd",
            "model.norm": "output_norm",
            "lm_head": "output",
            "model.layers": "blk",
            "input_layernorm": "attn_norm",
            "self_attn.o_proj": "attn_output",
            "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k",
            "self_attn.v_proj": "attn_v",
            "self_attn.qkv_proj": "attn_qkv",
            "self_attn.q_norm": "attn_q_norm",
            "self_attn.k_norm": "attn_k_norm",
            "mlp.gate_up_proj": "ffn_up",
            "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
            "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
            "post_attention_layernorm": "post_attention_norm" if self.post_norms else "ffn_norm",
        }
        found = {}
        for name, values in self.tensors().items():
            if self.permuted and (".q_proj." in name or ".k_proj." in name):
                heads = self.heads if ".q_proj." in name else self.kv_heads
                pairs = values.reshape(heads, 2, self.head_size // 2, *values.shape[1:])
                values = pairs.swapaxes(1, 2).reshape(values.shape)
            if self.norms_from_one and "norm" in name:
                values = values + np.float32(1)
            for theirs, ours in names.items():
                name = name.replace(theirs, ours)
            found[name] = values
        return found


@dataclass(frozen=True)
class _Renamed(TinyModel):
    renamed: dict[str, Array] = field(default_factory=dict)

    def tensors(self) -> dict[str, Array]:
        return self.renamed


def tiny_tokenizer() -> Tokenizer:
    """The tokenizer of ``TinyModel``."""
    vocabulary = {token: number for number, token in enumerate(TinyModel().tokens)}
    merges = [(left, right) for left, right in (merge.split(" ") for merge in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_LONG = {
    "type": "longrope",
    "short_factor": [1.0 + 0.05 * n for n in range(8)],
    "long_factor": [1.0 + 0.7 * n for n in range(8)],
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
_GEMMA = TinyFamily(
    "gemma2",
    {
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    {
        "attention.sliding_window": WINDOW,
        "attention.scale": 24**-0.5,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    tied=True,
    post_norms=True,
    norms_from_one=True,
)


def llama3_factors() -> Array:
    """What llama.cpp's converter stores for ``_LLAMA3``, by the formula of the Llama 3.1 code."""
    found = []
    for n in range(8):
        frequency = 10000.0 ** (-n / 8)
        length = 2 * np.pi / frequency
        if length < 32 / 4:
            found.append(1.0)
        elif length > 32 / 1:
            found.append(8.0)
        else:
            smooth = (32 / length - 1) / (4 - 1)
            found.append(1 / ((1 - smooth) / 8 + smooth))
    return np.array(found, np.float32)


FAMILIES = {
    "llama": TinyFamily("llama", permuted=True),
    "llama3": TinyFamily(
        "llama",
        {"rope_scaling": _LLAMA3},
        tied=True,
        permuted=True,
        gguf_tensors={"rope_freqs.weight": llama3_factors()},
    ),
    "qwen2": TinyFamily("qwen2", tied=True, biases=True),
    "qwen2-yarn": TinyFamily(
        "qwen2",
        {"rope_scaling": _YARN},
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
        },
        tied=True,
        biases=True,
        head_size=32,
    ),
    "qwen3": TinyFamily("qwen3", head_size=32, head_norms=True),
    "mistral": TinyFamily(
        "mistral",
        {"sliding_window": WINDOW},
        {"attention.sliding_window": WINDOW},
        architecture="llama",
        permuted=True,
    ),
    "smollm3": TinyFamily(
        "smollm3",
        {"no_rope_layers": [1, 1, 1, 0], "no_rope_layer_interval": 4},
        layers=4,
        tied=True,
        permuted=True,
    ),
    "phi3": TinyFamily(
        "phi3", {"sliding_window": WINDOW}, {"attention.sliding_window": WINDOW}, fused=True
    ),
    "phi4-mini": TinyFamily(
        "phi3",
        {
            "partial_rotary_factor": 0.5,
            "rope_scaling": _LONG,
            "original_max_position_embeddings": SHORT,
        },
        {
            "rope.dimension_count": 16,
            "rope.scaling.original_context_length": SHORT,
            "rope.scaling.attn_factor": float(np.sqrt(1 + np.log(64 / SHORT) / np.log(SHORT))),
        },
        hidden=128,
        head_size=32,
        tied=True,
        fused=True,
        gguf_tensors={
            f"rope_factors_{kind}.weight": np.array(_LONG[f"{kind}_factor"], np.float32)
            for kind in ("short", "long")
        },
    ),
    "granite": TinyFamily(
        "granite",
        {
            "embedding_multiplier": 6.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.25,
            "logits_scaling": 4.0,
        },
        {
            "embedding_scale": 6.0,
            "attention.scale": 0.2,
            "residual_scale": 0.25,
            "logit_scale": 4.0,
        },
        tied=True,
        permuted=True,
    ),
    "gemma": TinyFamily(
        "gemma",
        {"hidden_activation": "gelu_pytorch_tanh"},
        tied=True,
        norms_from_one=True,
    ),
    "gemma2": _GEMMA,
    "gemma3": replace(
        _GEMMA,
        name="gemma3_text",
        architecture="gemma3",
        config={
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": WINDOW,
            "sliding_window_pattern": 6,
            "query_pre_attn_scalar": 24,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        gguf_keys={
            "attention.sliding_window": WINDOW,
            "attention.scale": 24**-0.5,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        layers=6,
        head_norms=True,
    ),
}
