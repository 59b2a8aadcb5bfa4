"""The ``tokenizer.json`` of SentencePiece's BPE, the tokenizer that GGUF calls "llama".

The file has a score for each token and no merges. Two neighbours are merged if their text is a
token, those of the best score first. So the merges are all pairs of tokens that make a token, in
the order of their scores (as transformers converts such tokenizers).
"""

from __future__ import annotations

from typing import Any

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.special_token_rules import added_tokens, with_bos
from cupola.cache.convert.tokenizer.vocabulary import TokenKind, Vocabulary
from cupola.cache.errors import BrokenFileError

Json = dict[str, Any]

_SPACE = "▁"
# Phi-3's special tokens take the white space behind them along, except these. A GGUF does not say
# it; llama.cpp knows it, too.
_PHI3_PLAIN = frozenset({"<unk>", "<s>", "<|endoftext|>"})


class SentencePieceBpe:
    """The vocabulary and rules of one file. Raises BrokenFileError for scores that do not fit."""

    hf_class = "LlamaTokenizer"  # tokenizer_class in tokenizer_config.json

    def __init__(self, gguf: GgufFile, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._scores = gguf.get("tokenizer.ggml.scores", list)
        if len(self._scores) != len(vocabulary.tokens) or not all(
            type(score) in (float, int) for score in self._scores
        ):
            raise BrokenFileError(f"{gguf.path} has no score for each token")
        self._adds_space = gguf.get("tokenizer.ggml.add_space_prefix", bool, True)
        self._takes_space = gguf.architecture == "phi3"
        self.adds_bos = gguf.get("tokenizer.ggml.add_bos_token", bool, True)

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""
        spaces: list[Json] = [
            {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
        ]
        decoders: list[Json] = [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        if self._adds_space:
            spaces.insert(0, {"type": "Prepend", "prepend": _SPACE})
            decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
        bos = self._vocabulary.special("bos") if self.adds_bos else None
        unknown = self._vocabulary.special("unknown")
        tokens = self._vocabulary.tokens
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self.added_tokens(),
            "normalizer": {"type": "Sequence", "normalizers": spaces},
            "pre_tokenizer": None,
            "post_processor": None if bos is None else with_bos(tokens[bos], bos),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None if unknown is None else tokens[unknown],
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": TokenKind.BYTE in self._vocabulary.kinds,
                "ignore_merges": False,
                "vocab": {token: number for number, token in enumerate(tokens)},
                "merges": self._merges(),
            },
        }

    def added_tokens(self) -> list[Json]:
        """The tokens that are found in the text before anything else is done with it."""
        found = added_tokens(self._vocabulary)
        for token in found:
            token["rstrip"] = self._takes_space and token["content"] not in _PHI3_PLAIN
        return found

    def _merges(self) -> list[tuple[str, str]]:
        tokens = zip(self._vocabulary.tokens, self._vocabulary.kinds, strict=True)
        numbers = {
            token: number for number, (token, kind) in enumerate(tokens) if kind == TokenKind.NORMAL
        }
        found = []
        for token, number in numbers.items():
            score = self._scores[number]
            for end in range(1, len(token)):
                left, right = token[:end], token[end:]
                if left in numbers and right in numbers:
                    found.append((-score, numbers[left], numbers[right], left, right))
        found.sort(key=lambda each: each[:3])
        return [(left, right) for *_, left, right in found]
