"""The tokenizer of an encoder in a GGUF: what stands around a text, and around a pair of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.byte_level_bpe import ByteLevelBpe
from cupola.cache.convert.tokenizer.special_token_rules import around_pairs
from cupola.cache.convert.tokenizer.unigram import Unigram
from cupola.cache.convert.tokenizer.vocabulary import Vocabulary
from cupola.cache.convert.tokenizer.wordpiece import WordPiece
from cupola.cache.errors import BrokenFileError, UnsupportedError

Json = dict[str, Any]


class EncoderTokenizer(Protocol):
    """A tokenizer in Hugging Face's form."""

    def tokenizer_json(self) -> Json: ...

    def tokenizer_config(self) -> Json: ...


class RobertaTokenizer:
    """RoBERTa's marks around the tokens of another algorithm: ``<s> A </s></s> B </s>``."""

    def __init__(self, algorithm: ByteLevelBpe | Unigram, vocabulary: Vocabulary, path: Any):
        """Raises BrokenFileError for a file that does not name the marks."""
        self._algorithm = algorithm
        self._tokens = vocabulary.tokens
        self._marks = []
        for roles in (("bos", "cls"), ("eos", "seperator")):  # GGUF spells it so
            found = [vocabulary.special(role) for role in roles]
            mark = next((each for each in found if each is not None), None)
            if mark is None:
                raise BrokenFileError(f"{path} does not say which token is '{roles[0]}'")
            self._marks.append(mark)
        self._pad = vocabulary.special("padding")

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""
        begin, end = ((self._tokens[mark], mark) for mark in self._marks)
        return self._algorithm.tokenizer_json() | {"post_processor": around_pairs(begin, end)}

    def tokenizer_config(self) -> Json:
        """The content of Hugging Face's ``tokenizer_config.json``."""
        begin, end = (self._tokens[mark] for mark in self._marks)
        return {
            "tokenizer_class": self._algorithm.hf_class,
            "bos_token": begin,
            "cls_token": begin,
            "eos_token": end,
            "sep_token": end,
            "pad_token": None if self._pad is None else self._tokens[self._pad],
        }


# By tokenizer.ggml.model: what is below RoBERTa's marks.
_ALGORITHMS: Mapping[str, Callable[[GgufFile, Vocabulary], ByteLevelBpe | Unigram]] = (
    MappingProxyType({"gpt2": ByteLevelBpe, "t5": Unigram})
)


def encoder_tokenizer(gguf: GgufFile, embedding_rows: int) -> EncoderTokenizer:
    """The tokenizer that a file describes. ``embedding_rows``: at least one for each token.

    Raises UnsupportedError, BrokenFileError.
    """
    model = gguf.get("tokenizer.ggml.model", str, "bert")
    if model == "bert":
        return WordPiece(gguf, embedding_rows)
    if model not in _ALGORITHMS:
        raise UnsupportedError(
            f"{gguf.path} has a tokenizer of the kind '{model}'; "
            f"encoders can have these: {', '.join(sorted(['bert', *_ALGORITHMS]))}"
        )
    vocabulary = Vocabulary(gguf, embedding_rows)
    return RobertaTokenizer(_ALGORITHMS[model](gguf, vocabulary), vocabulary, gguf.path)
