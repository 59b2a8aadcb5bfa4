"""The model families that can be converted.

A family is one record: how its GGUF files are read and which blocks its decoder is built of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.graph.attention import GroupedQueryAttention
from cupola.cache.convert.graph.blocks import Block, DecoderBlocks
from cupola.cache.convert.graph.layers import PreNormLayer
from cupola.cache.convert.graph.mlp import SwiGlu
from cupola.cache.convert.graph.token_embedding import OutputLayer, TokenEmbedding
from cupola.cache.convert.weights.gguf_weights import GgufWeights
from cupola.cache.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Family:
    """The models of one ``general.architecture``."""

    genai_type: str  # model.type in genai_config.json
    interleaved_rotary: bool  # the order of the rows of q and k in a GGUF; see GgufWeights
    blocks: DecoderBlocks


def _blocks(attention: Block) -> DecoderBlocks:
    """The blocks of Llama, with ``attention``."""
    return DecoderBlocks(
        embedding=TokenEmbedding(),
        layer=PreNormLayer(attention=attention, mlp=SwiGlu()),
        head=OutputLayer(),
    )


# By general.architecture. Mistral's dense models call themselves "llama".
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(
            genai_type="llama",
            interleaved_rotary=True,
            blocks=_blocks(GroupedQueryAttention()),
        ),
        "qwen2": Family(
            genai_type="qwen2",
            interleaved_rotary=False,
            blocks=_blocks(GroupedQueryAttention()),
        ),
        "qwen3": Family(
            genai_type="qwen3",
            interleaved_rotary=False,
            blocks=_blocks(GroupedQueryAttention(head_norms=True)),
        ),
    }
)


def read_decoder(gguf: GgufFile) -> tuple[Family, GgufWeights]:
    """The family of a file, and its weights.

    Raises UnsupportedError for an unknown family or unknown mathematics, BrokenFileError for
    damaged metadata.
    """
    name = gguf.architecture
    if name not in FAMILIES:
        raise UnsupportedError(
            f"{gguf.path} is of the architecture '{name}'; "
            f"these can be converted: {', '.join(sorted(FAMILIES))}"
        )
    family = FAMILIES[name]
    return family, GgufWeights(gguf, interleaved_rotary=family.interleaved_rotary)
