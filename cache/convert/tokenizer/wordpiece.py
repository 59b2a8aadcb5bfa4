"""The ``tokenizer.json`` of WordPiece, the tokenizer that GGUF calls "bert".

The file marks the beginnings of words: "▁word", and "ing" behind one. BERT's own vocabulary marks
what follows them: "word", and "##ing". The file does not say whether the model tells capitals from
small letters; a vocabulary that has words with capitals does.
"""

from __future__ import annotations

from typing import Any

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.special_token_rules import added_token
from cupola.cache.convert.tokenizer.vocabulary import Vocabulary
from cupola.cache.errors import BrokenFileError

Json = dict[str, Any]

_BEGIN, _INSIDE = "▁", "##"
# As llama.cpp: the ids of BERT's own vocabulary, where a file names none.
_USUAL = {"cls": 101, "seperator": 102, "unknown": 100}
_LONGEST_WORD = 100  # letters; longer ones are unknown, as in BERT


class WordPiece:
    """The tokenizer of one file. Raises BrokenFileError for special tokens that are not there."""

    def __init__(self, gguf: GgufFile, embedding_rows: int) -> None:
        """``embedding_rows``: there is at least one for each token."""
        vocabulary = Vocabulary(gguf, embedding_rows)
        self._path = gguf.path
        self._tokens = [_as_bert_has_it(token) for token in vocabulary.tokens]
        if len(set(self._tokens)) != len(self._tokens):
            raise BrokenFileError(f"{gguf.path} has the same token twice")
        self._begin = self._special(vocabulary, "cls", "bos")
        self._end = self._special(vocabulary, "seperator", "eos")  # GGUF spells it so
        self._unknown = self._special(vocabulary, "unknown")
        self._pad = vocabulary.special("padding")

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                added_token(number, token, special=True)
                for number, token in enumerate(self._tokens)
                if number in self._specials or token == "[MASK]"
            ],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,  # as ``lowercase``
                "lowercase": not any(map(_has_capital, self._tokens)),
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "BertProcessing",
                "sep": [self._tokens[self._end], self._end],
                "cls": [self._tokens[self._begin], self._begin],
            },
            "decoder": {"type": "WordPiece", "prefix": _INSIDE, "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": self._tokens[self._unknown],
                "continuing_subword_prefix": _INSIDE,
                "max_input_chars_per_word": _LONGEST_WORD,
                "vocab": {token: number for number, token in enumerate(self._tokens)},
            },
        }

    def tokenizer_config(self) -> Json:
        """The content of Hugging Face's ``tokenizer_config.json``."""
        return {
            "tokenizer_class": "BertTokenizer",
            "cls_token": self._tokens[self._begin],
            "sep_token": self._tokens[self._end],
            "unk_token": self._tokens[self._unknown],
            "pad_token": None if self._pad is None else self._tokens[self._pad],
        }

    @property
    def _specials(self) -> set[int]:
        found = {self._begin, self._end, self._unknown}
        return found if self._pad is None else found | {self._pad}

    def _special(self, vocabulary: Vocabulary, *roles: str) -> int:
        """The token of the first of ``roles`` that the file has."""
        for role in roles:
            if (found := vocabulary.special(role)) is not None:
                return found
        usual = _USUAL[roles[0]]
        if usual >= len(self._tokens) or not _is_special(self._tokens[usual]):
            raise BrokenFileError(f"{self._path} does not say which token is '{roles[0]}'")
        return usual


def _as_bert_has_it(token: str) -> str:
    if _is_special(token):
        return token
    if token.startswith(_BEGIN) and token != _BEGIN:
        return token.removeprefix(_BEGIN)
    return _INSIDE + token


def _is_special(token: str) -> bool:
    """Whether llama.cpp's converter leaves the token as it is."""
    return token.startswith("[") and token.endswith("]")


def _has_capital(token: str) -> bool:
    return not _is_special(token) and token != token.lower()
