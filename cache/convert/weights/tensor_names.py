"""The names of a decoder's tensors, in GGUF files and in the repositories of the hub.

In the code a tensor has its name in a GGUF, without its layer and without ``.weight``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GATE_AND_UP = "ffn_gate_up"  # one matrix for both; a GGUF calls it as it calls "up" alone


@dataclass(frozen=True, slots=True)
class TensorNames:
    """``layer``: a pattern of the number of a layer and a name in it."""

    embedding: str
    head: str
    final_norm: str
    layer: str
    inside: Mapping[str, str]  # by our own names

    def of(self, layer: int, name: str) -> str:
        """The full name, without ``.weight``."""
        return self.layer.format(layer, self.inside.get(name, name))


GGUF = TensorNames(
    "token_embd",
    "output",
    "output_norm",
    "blk.{}.{}",
    MappingProxyType({GATE_AND_UP: "ffn_up"}),
)

_TRANSFORMERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    GATE_AND_UP: "mlp.gate_up_proj",
}
# Where attention and MLP have norms in front of them and behind them.
_TRANSFORMERS_POST_NORMS = _TRANSFORMERS | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def own_name(inside: str) -> str | None:
    """Our name of a linear layer that repositories call ``inside``; None: there is no such one."""
    return next((own for own, theirs in _TRANSFORMERS.items() if theirs == inside), None)


def transformers_names(*, post_norms: bool, prefix: str = "model.") -> TensorNames:
    """The names in a repository. ``prefix``: what those of the decoder without its head have."""
    inside = _TRANSFORMERS_POST_NORMS if post_norms else _TRANSFORMERS
    return TensorNames(
        f"{prefix}embed_tokens", "lm_head", f"{prefix}norm", f"{prefix}layers.{{}}.{{}}", inside
    )
