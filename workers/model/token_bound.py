"""The fewest tokens that a text can have, without making them.

A token of the text stands for at least one of its bytes and for at most as many as the longest
token has. That is true only of tokenizers that lose no text. For the others nothing is known.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from tokenizers import Tokenizer, models

from cupola.workers.model.token_bytes import BYTE_LEVEL

# How many bytes of a text in NFC can become one byte of what the vocabulary spells.
_SHRINKING = {"NFC": 1, "NFD": 1, "Lowercase": 3, "Prepend": 1}
_LOSSLESS = {"ByteLevel", "Metaspace", "Digits"}


class TokenBound:
    """A lower bound on the number of tokens, for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder().values()
        self._unknown = _unknown_bytes(tokenizer)  # they are left out
        self._shrinking = _shrinking(_state(tokenizer.normalizer))
        self._bytes_per_token = _bytes_per_token(tokenizer) if self._shrinking else 0
        self._strips = any(token.lstrip or token.rstrip for token in added)  # white space

    def fewest(self, text: str) -> int:
        """The text has at least so many tokens. It may be 0."""
        if not self._bytes_per_token:
            return 0
        if self._strips:
            text = "".join(text.split())
        shrinking = 1 if text.isascii() else self._shrinking
        content = unicodedata.normalize("NFC", text).encode(errors="replace")
        known = content.translate(None, self._unknown)
        return -(-len(known) // (self._bytes_per_token * shrinking))


def _bytes_per_token(tokenizer: Tokenizer) -> int:
    """The most bytes of a text that one token stands for; 0: not known."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    parts = _parts(_state(tokenizer.pre_tokenizer), "pretokenizers")
    if not isinstance(tokenizer.model, models.BPE) or not all(map(_is_lossless, parts)):
        return 0
    if _is_byte_level(tokenizer):
        if tokenizer.normalizer is not None and _unknown_bytes(tokenizer):
            return 0  # the normalizer may make unknown bytes of known ones
        longest = max(map(len, vocabulary), default=0)
    elif tokenizer.model.byte_fallback and all(f"<0x{b:02X}>" in vocabulary for b in range(256)):
        longest = max(len(token.encode()) for token in vocabulary)
    else:
        return 0  # what it has no token for may be left out
    added = tokenizer.get_added_tokens_decoder().values()
    longest_added = max((len(token.content.encode()) for token in added), default=0)
    return max(longest, longest_added) if longest else 0


def _unknown_bytes(tokenizer: Tokenizer) -> bytes:
    """The bytes that a byte-level vocabulary has no token for."""
    if not _is_byte_level(tokenizer):
        return b""
    model = tokenizer.model
    return bytes(byte for sign, byte in BYTE_LEVEL.items() if model.token_to_id(sign) is None)


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    """Whether a character of the vocabulary stands for a byte."""
    parts = _parts(_state(tokenizer.pre_tokenizer), "pretokenizers")
    return any(part["type"] == "ByteLevel" for part in parts)


def _state(part: Any) -> dict[str, Any] | None:
    """A part of a tokenizer as tokenizer.json has it."""
    return json.loads(part.__getstate__()) if part is not None else None


def _parts(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [inner for one in part[name] for inner in _parts(one, name)]


def _shrinking(normalizer: dict[str, Any] | None) -> int:
    """How many bytes can become one; 0: not known."""
    factor = 1
    for part in _parts(normalizer, "normalizers"):
        if part["type"] == "Replace":
            old = part["pattern"].get("String", "")
            factor *= bool(old) and len(part["content"].encode()) >= len(old.encode())
        else:
            factor *= _SHRINKING.get(part["type"], 0)
    return factor


def _is_lossless(part: dict[str, Any]) -> bool:
    if part["type"] == "Split":
        return bool(part["behavior"] != "Removed")
    return part["type"] in _LOSSLESS
