"""The rules that cut text into words, by the names that GGUF files give them.

A GGUF has only the *name* of its rules (``tokenizer.ggml.pre``). A name that is not in the table is
refused: nearly right tokens make a model that is subtly wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One set of rules, in the form of the ``tokenizers`` library."""

    words: Json
    normalizer: Json | None = None
    # A whole word that is in the vocabulary is one token, even where the merges do not lead to it.
    # Such tokenizers add a BOS token where the file does not say otherwise.
    ignore_merges: bool = False


def byte_level(*, use_regex: bool) -> Json:
    """Bytes as printable characters. ``use_regex``: cut into words as GPT-2 does."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _split(pattern: str) -> Json:
    return {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": False,
            },
            byte_level(use_regex=False),
        ],
    }


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS_AND_SPACE = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"

_GPT2 = PreTokenizer(byte_level(use_regex=True))
_SINGLE_DIGITS = PreTokenizer(
    {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            byte_level(use_regex=True),
        ],
    }
)
_LLAMA3 = PreTokenizer(
    _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SYMBOLS_AND_SPACE}"), ignore_merges=True
)
_QWEN2 = PreTokenizer(
    _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SYMBOLS_AND_SPACE}"), normalizer={"type": "NFC"}
)
_TEKKEN = PreTokenizer(
    _split(
        rf"{_BEFORE}[{_UPPER}]*[{_LOWER}]+|{_BEFORE}[{_UPPER}]+[{_LOWER}]*|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    ignore_merges=True,
)

_GPT4O = PreTokenizer(
    _split(
        rf"{_BEFORE}[{_UPPER}]*[{_LOWER}]+{_CONTRACTIONS}?|{_BEFORE}[{_UPPER}]+[{_LOWER}]*"
        rf"{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = MappingProxyType(
    {
        "gpt-2": _GPT2,
        # Of encoders.
        **dict.fromkeys(("roberta-bpe", "jina-v1-en", "jina-v2-code"), _GPT2),
        **dict.fromkeys(("jina-v2-de", "jina-v2-es"), _GPT2),
        "smollm": _SINGLE_DIGITS,
        "refact": _SINGLE_DIGITS,
        "starcoder": _SINGLE_DIGITS,
        "llama-bpe": _LLAMA3,
        "llama3": _LLAMA3,
        "qwen2": _QWEN2,
        "deepseek-r1-qwen": _QWEN2,
        "gpt-4o": _GPT4O,
        "tekken": _TEKKEN,
    }
)
