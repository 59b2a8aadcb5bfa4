"""The model families that can be converted.

A family is one record: what its files do not say, and which blocks its decoder is built of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cupola.cache.convert.formats.json_file import JsonObject
from cupola.cache.convert.graph.attention import GroupedQueryAttention
from cupola.cache.convert.graph.blocks import DecoderBlocks, Layer
from cupola.cache.convert.graph.layers import PreNormLayer, SandwichNormLayer
from cupola.cache.convert.graph.mlp import GatedMlp, gelu_tanh
from cupola.cache.convert.graph.token_embedding import OutputLayer, TokenEmbedding
from cupola.cache.convert.weights.decoder_shape import Traits
from cupola.cache.convert.weights.gguf_encoder import ENCODERS
from cupola.cache.errors import UnknownFamilyError


@dataclass(frozen=True, slots=True)
class Family:
    """The models of one ``general.architecture`` of GGUF, and of one ``model_type`` of the hub."""

    genai_type: str  # model.type in genai_config.json
    blocks: DecoderBlocks
    traits: Traits = field(default_factory=Traits)


def _blocks(layer: Layer) -> DecoderBlocks:
    return DecoderBlocks(embedding=TokenEmbedding(), layer=layer, head=OutputLayer())


_LLAMA = _blocks(PreNormLayer(GroupedQueryAttention(), GatedMlp()))
_HEAD_NORMS = GroupedQueryAttention(head_norms=True)
_GEMMA = Traits(
    norms_from_one=True,
    scaled_embedding=True,
    tied=True,
    activations=("gelu_pytorch_tanh",),
    post_norms=True,
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "gemma": Family(
            "gemma",
            _blocks(PreNormLayer(GroupedQueryAttention(), GatedMlp(gelu_tanh))),
            replace(_GEMMA, post_norms=False, activations=("gelu_pytorch_tanh", "gelu")),
        ),
        "gemma2": Family(
            "gemma2",
            _blocks(SandwichNormLayer(GroupedQueryAttention(), GatedMlp(gelu_tanh))),
            replace(_GEMMA, full_every=2),
        ),
        "gemma3": Family(
            "gemma3_text",
            _blocks(SandwichNormLayer(_HEAD_NORMS, GatedMlp(gelu_tanh))),
            replace(_GEMMA, full_every=6, local_rope_base=10000.0),
        ),
        "granite": Family("granite", _LLAMA, Traits(interleaved_rotary=True)),
        # Mistral's dense models call themselves so in a GGUF.
        "llama": Family("llama", _LLAMA, Traits(interleaved_rotary=True)),
        "mistral": Family("mistral", _LLAMA),
        "phi3": Family("phi3", _LLAMA),
        "qwen2": Family("qwen2", _LLAMA),
        "qwen3": Family("qwen3", _blocks(PreNormLayer(_HEAD_NORMS, GatedMlp()))),
        "smollm3": Family(
            "smollm3",
            _LLAMA,
            Traits(interleaved_rotary=True, unrotated_every=4, tied=True),
        ),
    }
)
# Names of the hub for a family whose GGUF files have another name.
_MODEL_TYPES = MappingProxyType({"gemma3_text": "gemma3"})

# What families lack that people will try: the operator that onnxruntime or Cupola does not have.
_MISSING = MappingProxyType(
    {
        **dict.fromkeys(
            ("qwen3_5", "qwen3_5_text", "qwen35", "qwen3next", "qwen3_next"),
            "three of four layers have linear attention (a gated delta rule), whose state is no "
            "keys and values",
        ),
        **dict.fromkeys(
            ("gemma4", "gemma4_text", "gemma3n", "gemma3n_text"),
            "its layers have keys and values of different sizes, some share those of others, and "
            "each layer has an embedding of its own",
        ),
        **dict.fromkeys(
            ("lfm2", "lfm2_moe", "lfm2moe"),
            "most of its layers are short convolutions, whose state is no keys and values",
        ),
        **dict.fromkeys(
            ("granitemoehybrid", "granitehybrid"),
            "most of its layers are Mamba-2, whose state is no keys and values",
        ),
        **dict.fromkeys(
            (
                *("gpt_oss", "gpt-oss", "qwen3moe", "qwen3_moe", "qwen2moe", "qwen2_moe"),
                *("mixtral", "granitemoe", "phimoe", "deepseek2", "deepseek_v2", "deepseek_v3"),
            ),
            "it is a mixture of experts",
        ),
        "olmo": "its norms have no weights",
        **dict.fromkeys(
            ("nomic-bert-moe", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert"),
            "its layers are not those of BERT",
        ),
        **dict.fromkeys(
            ("mamba", "mamba2", "falcon_mamba", "rwkv6", "rwkv7"),
            "it has no attention but a recurrent state",
        ),
    }
)


def check_name(what: str, name: str) -> None:
    """Raises UnknownFamilyError for a model whose architecture or model type is not known."""
    if _MODEL_TYPES.get(name, name) not in FAMILIES and name not in ENCODERS:
        raise unknown_family(what, name)


def family_of_gguf(path: object, architecture: str) -> Family:
    """The family of a GGUF file. Raises UnknownFamilyError, which lists the families."""
    if architecture not in FAMILIES:
        raise unknown_family(str(path), architecture)
    return FAMILIES[architecture]


def family_of_config(config: JsonObject) -> Family:
    """The family of a repository's config.json. Raises UnknownFamilyError, BrokenFileError."""
    name = config.get("model_type", str)
    if "vision_config" in config.values or "audio_config" in config.values:
        raise UnknownFamilyError(
            f"The model is '{name}', which also reads images or sounds. It cannot be converted "
            "from safetensors: take a GGUF of it, which has the language model alone"
        )
    key = _MODEL_TYPES.get(name, name)
    if key not in FAMILIES:
        raise unknown_family("The model", name)
    return FAMILIES[key]


def unknown_family(what: str, name: str) -> UnknownFamilyError:
    """The error for a model of a family that is not known. It says why, where that is known."""
    because = f" ({_MISSING[name]})" if name in _MISSING else ""
    text = (
        f"{what} is of the architecture '{name}'{because}; "
        f"these can be converted: {', '.join([*sorted(FAMILIES), *ENCODERS])}"
    )
    return UnknownFamilyError(text, name)
