"""Rebuilds a Hugging Face tokenizer (``tokenizer.json`` and its company) from a GGUF's metadata.

A GGUF has the vocabulary and the merges, but only the *name* of the rules that cut text into words
(``tokenizer.ggml.pre``); ``_PRE_TOKENIZERS`` has the rules for the names that are known. A name
that is not there is refused: nearly right tokens make a model that is subtly wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from cupola.cache.convert.gguf_file import GgufFile
from cupola.cache.errors import BrokenFileError, UnsupportedError

Json = dict[str, Any]


class TokenKind(enum.IntEnum):
    """``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def _byte_level(use_regex: bool) -> Json:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _split(pattern: str) -> Json:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _sequence(*steps: Json) -> Json:
    return {"type": "Sequence", "pretokenizers": list(steps)}


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS_AND_SPACE = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_GPT2 = _byte_level(use_regex=True)
_SINGLE_DIGITS = _sequence({"type": "Digits", "individual_digits": True}, _GPT2)
_LLAMA3 = _sequence(
    _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SYMBOLS_AND_SPACE}"),
    _byte_level(use_regex=False),
)
_QWEN2 = _sequence(
    _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SYMBOLS_AND_SPACE}"),
    _byte_level(use_regex=False),
)
_UPPER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_TEKKEN = _sequence(
    _split(
        rf"{_BEFORE}[{_UPPER}]*[{_LOWER}]+|{_BEFORE}[{_UPPER}]+[{_LOWER}]*|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    _byte_level(use_regex=False),
)

_PRE_TOKENIZERS: Mapping[str, Json] = {
    "gpt-2": _GPT2,
    "smollm": _SINGLE_DIGITS,
    "starcoder": _SINGLE_DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
}
_NORMALIZERS: Mapping[str, Json] = {"qwen2": {"type": "NFC"}, "deepseek-r1-qwen": {"type": "NFC"}}
# A whole word that is in the vocabulary is one token, even where the merges do not lead to it.
_IGNORE_MERGES = frozenset({"llama-bpe", "llama3", "tekken"})


class TokenizerFiles:
    """The tokenizer that a GGUF describes.

    Raises UnsupportedError for models and pre-tokenizers that are not known, BrokenFileError for
    metadata that contradicts itself.
    """

    def __init__(self, gguf: GgufFile, vocabulary: int) -> None:
        """``vocabulary``: rows of the embedding, at least as many as there are tokens."""
        self._gguf = gguf
        model = gguf.get("tokenizer.ggml.model", str)
        if model != "gpt2":
            raise UnsupportedError(
                f"{gguf.path} has a tokenizer of the kind '{model}'; "
                "only byte-level BPE ('gpt2') can be converted"
            )
        self._pre = gguf.get("tokenizer.ggml.pre", str, "gpt-2")
        if self._pre not in _PRE_TOKENIZERS:
            raise UnsupportedError(
                f"{gguf.path} has the pre-tokenizer '{self._pre}'; "
                f"these are known: {', '.join(sorted(_PRE_TOKENIZERS))}"
            )
        self.tokens = self._texts("tokenizer.ggml.tokens")
        self._kinds = gguf.get("tokenizer.ggml.token_type", list, [TokenKind.NORMAL])
        if len(self._kinds) == 1:
            self._kinds = self._kinds * len(self.tokens)
        self._check(vocabulary)

    def tokenizer_json(self) -> Json:
        """``tokenizer.json`` of the ``tokenizers`` library."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added_tokens(),
            "normalizer": _NORMALIZERS.get(self._pre),
            "pre_tokenizer": _PRE_TOKENIZERS[self._pre],
            "post_processor": self._post_processor(),
            "decoder": _byte_level(use_regex=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self._pre in _IGNORE_MERGES,
                "vocab": {token: number for number, token in enumerate(self.tokens)},
                "merges": [pair.split(" ") for pair in self._merges],
            },
        }

    def tokenizer_config(self) -> Json:
        """``tokenizer_config.json`` of Hugging Face, which onnxruntime-genai reads too."""
        config: Json = {
            "tokenizer_class": "GPT2Tokenizer",
            "add_bos_token": self.adds_bos,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": self._gguf.get(
                f"{self._gguf.get('general.architecture', str)}.context_length", int
            ),
            "added_tokens_decoder": {
                str(token["id"]): {key: value for key, value in token.items() if key != "id"}
                for token in self._added_tokens()
            },
        }
        for name, token in (
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("pad_token", self.pad),
            ("unk_token", self._special("unknown")),
        ):
            config[name] = None if token is None else self.tokens[token]
        if self.chat_template:
            config["chat_template"] = self.chat_template
        return config

    @property
    def chat_template(self) -> str:
        """The Jinja template, empty when the model has none."""
        return self._gguf.get("tokenizer.chat_template", str, "")

    @property
    def adds_bos(self) -> bool:
        return self._gguf.get("tokenizer.ggml.add_bos_token", bool, self._pre in _IGNORE_MERGES)

    @property
    def bos(self) -> int | None:
        return self._special("bos")

    @property
    def eos(self) -> int | None:
        return self._special("eos")

    @property
    def pad(self) -> int | None:
        return self._special("padding")

    @property
    def ends(self) -> list[int]:
        """Every token that ends an answer: end of text, end of turn."""
        found = [self.eos, self._special("eot"), self._special("eom")]
        # Files of before these keys existed name only one of the two in use.
        found += [number for number, token in enumerate(self.tokens) if self._ends_turn(token)]
        return sorted({number for number in found if number is not None})

    def _ends_turn(self, token: str) -> bool:
        return token in {"<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>"}

    def _special(self, which: str) -> int | None:
        key = f"tokenizer.ggml.{which}_token_id"
        number = self._gguf.get(key, int, -1)
        if number == -1:
            return None
        if not 0 <= number < len(self.tokens):
            raise BrokenFileError(f"{self._gguf.path}: '{key}' is {number}, not in the vocabulary")
        return number

    def _texts(self, key: str) -> list[str]:
        values = self._gguf.get(key, list)
        if not all(type(value) is str for value in values):
            raise BrokenFileError(f"{self._gguf.path}: '{key}' holds other things than texts")
        return values

    def _check(self, vocabulary: int) -> None:
        path = self._gguf.path
        if not 0 < len(self.tokens) <= vocabulary:
            raise BrokenFileError(
                f"{path} has {len(self.tokens)} tokens for an embedding of {vocabulary} rows"
            )
        if len(self._kinds) != len(self.tokens):
            raise BrokenFileError(
                f"{path} has {len(self._kinds)} token types for {len(self.tokens)} tokens"
            )
        known = set(self.tokens)
        if len(known) != len(self.tokens):
            raise BrokenFileError(f"{path} has the same token twice")
        self._merges = self._texts("tokenizer.ggml.merges")
        for merge in self._merges:
            left, _, right = merge.partition(" ")
            if left not in known or right not in known or left + right not in known:
                raise BrokenFileError(f"{path} merges '{merge}', which is not in its vocabulary")

    def _added_tokens(self) -> list[Json]:
        """Tokens that are found in the text before it is cut into words."""
        return [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind != TokenKind.USER_DEFINED,
            }
            for number, (token, kind) in enumerate(zip(self.tokens, self._kinds, strict=True))
            if kind in (TokenKind.CONTROL, TokenKind.USER_DEFINED, TokenKind.UNKNOWN)
        ]

    def _post_processor(self) -> Json:
        bytes_only = _byte_level(use_regex=True)
        if not self.adds_bos or self.bos is None:
            return bytes_only
        bos = self.tokens[self.bos]
        template = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": bos, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"SpecialToken": {"id": bos, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": bos, "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {bos: {"id": bos, "ids": [self.bos], "tokens": [bos]}},
        }
        return {"type": "Sequence", "processors": [bytes_only, template]}
