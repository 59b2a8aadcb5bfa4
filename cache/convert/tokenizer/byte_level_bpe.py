"""The ``tokenizer.json`` of byte-level BPE, the tokenizer that GGUF calls "gpt2"."""

from __future__ import annotations

from typing import Any

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.pre_tokenizers import PRE_TOKENIZERS, byte_level
from cupola.cache.convert.tokenizer.special_token_rules import added_tokens, with_bos
from cupola.cache.convert.tokenizer.vocabulary import Vocabulary
from cupola.cache.errors import BrokenFileError, UnsupportedError

Json = dict[str, Any]


class ByteLevelBpe:
    """The vocabulary, merges and rules of one file.

    Raises UnsupportedError for unknown rules, BrokenFileError for merges outside the vocabulary.
    """

    hf_class = "GPT2Tokenizer"  # tokenizer_class in tokenizer_config.json

    def __init__(self, gguf: GgufFile, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        rules = gguf.get("tokenizer.ggml.pre", str, "gpt-2")
        if rules not in PRE_TOKENIZERS:
            raise UnsupportedError(
                f"{gguf.path} has the pre-tokenizer '{rules}'; "
                f"these are known: {', '.join(sorted(PRE_TOKENIZERS))}"
            )
        self._rules = PRE_TOKENIZERS[rules]
        self._merges = self._read_merges(gguf)
        self.adds_bos = gguf.get("tokenizer.ggml.add_bos_token", bool, self._rules.ignore_merges)

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self.added_tokens(),
            "normalizer": self._rules.normalizer,
            "pre_tokenizer": self._rules.words,
            "post_processor": self._post_processor(),
            "decoder": byte_level(use_regex=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self._rules.ignore_merges,
                "vocab": {token: number for number, token in enumerate(self._vocabulary.tokens)},
                "merges": [pair.split(" ") for pair in self._merges],
            },
        }

    def added_tokens(self) -> list[Json]:
        """The tokens that are found in the text before it is cut into words."""
        return added_tokens(self._vocabulary)

    def _read_merges(self, gguf: GgufFile) -> list[str]:
        merges = self._vocabulary.texts("tokenizer.ggml.merges")
        known = set(self._vocabulary.tokens)
        for merge in merges:
            left, _, right = merge.partition(" ")
            if left not in known or right not in known or left + right not in known:
                raise BrokenFileError(
                    f"{gguf.path} merges '{merge}', which is not in its vocabulary"
                )
        return merges

    def _post_processor(self) -> Json:
        bytes_only, number = byte_level(use_regex=True), self._vocabulary.special("bos")
        if not self.adds_bos or number is None:
            return bytes_only
        template = with_bos(self._vocabulary.tokens[number], number)
        return {"type": "Sequence", "processors": [bytes_only, template]}
