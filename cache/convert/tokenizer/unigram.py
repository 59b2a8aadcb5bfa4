"""The ``tokenizer.json`` of SentencePiece's unigram, the tokenizer that GGUF calls "t5"."""

from __future__ import annotations

import base64
import math
from typing import Any

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.special_token_rules import added_tokens
from cupola.cache.convert.tokenizer.vocabulary import TokenKind, Vocabulary
from cupola.cache.errors import BrokenFileError

Json = dict[str, Any]

_SPACE = "▁"
_CHARSMAP = "tokenizer.ggml.precompiled_charsmap"  # how characters are normalised


class Unigram:
    """The vocabulary and rules of one file. Raises BrokenFileError for scores that do not fit."""

    hf_class = "XLMRobertaTokenizer"  # tokenizer_class in tokenizer_config.json

    def __init__(self, gguf: GgufFile, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._scores = gguf.get("tokenizer.ggml.scores", list)
        if len(self._scores) != len(vocabulary.tokens) or not all(
            type(score) in (float, int) and math.isfinite(score) for score in self._scores
        ):
            raise BrokenFileError(f"{gguf.path} has no score for each token")
        unknown = vocabulary.special("unknown")
        if unknown is None and TokenKind.UNKNOWN in vocabulary.kinds:
            unknown = vocabulary.kinds.index(TokenKind.UNKNOWN)
        if unknown is None:
            raise BrokenFileError(f"{gguf.path} does not say which token is 'unknown'")
        self._unknown = unknown
        self._charsmap = _charsmap(gguf)
        self._adds_space = gguf.get("tokenizer.ggml.add_space_prefix", bool, True)
        self._joins_spaces = gguf.get("tokenizer.ggml.remove_extra_whitespaces", bool, False)

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""
        spaces = {
            "type": "Metaspace",
            "replacement": _SPACE,
            "prepend_scheme": "always" if self._adds_space else "never",
            "split": True,
        }
        words = [{"type": "WhitespaceSplit"}, spaces] if self._joins_spaces else [spaces]
        charsmap = base64.b64encode(self._charsmap).decode()
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added_tokens(self._vocabulary),
            "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap}
            if self._charsmap
            else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": words},
            "post_processor": None,
            "decoder": spaces,
            "model": {
                "type": "Unigram",
                "unk_id": self._unknown,
                "byte_fallback": TokenKind.BYTE in self._vocabulary.kinds,
                "vocab": [
                    [token, score]
                    for token, score in zip(self._vocabulary.tokens, self._scores, strict=True)
                ],
            },
        }


def _charsmap(gguf: GgufFile) -> bytes:
    """The size of a trie, the trie, and the texts that it leads to. Empty: there is none.

    Raises BrokenFileError for what the ``tokenizers`` library could not read.
    """
    values = gguf.get(_CHARSMAP, list, [])
    if not values:
        return b""
    try:
        found = bytes(value & 0xFF for value in values)
        size = int.from_bytes(found[:4], "little")
        if size % 4 or not size or 4 + size >= len(found):
            raise ValueError("the sizes do not fit")
        found[4 + size :].decode()
    except (TypeError, ValueError) as error:
        raise BrokenFileError(f"{gguf.path}: '{_CHARSMAP}' is damaged: {error}") from error
    return found
