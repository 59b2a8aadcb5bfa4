"""Rebuilds a Hugging Face tokenizer (``tokenizer.json`` and its company) from a GGUF's metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.byte_level_bpe import ByteLevelBpe
from cupola.cache.convert.tokenizer.sentencepiece_bpe import SentencePieceBpe
from cupola.cache.convert.tokenizer.vocabulary import Vocabulary
from cupola.cache.errors import UnsupportedError

Json = dict[str, Any]


class Algorithm(Protocol):
    """One way to make tokens of text, over a file's vocabulary."""

    @property
    def hf_class(self) -> str: ...

    @property
    def adds_bos(self) -> bool: ...

    def tokenizer_json(self) -> Json: ...

    def added_tokens(self) -> list[Json]: ...


# By tokenizer.ggml.model.
ALGORITHMS: Mapping[str, Callable[[GgufFile, Vocabulary], Algorithm]] = MappingProxyType(
    {"gpt2": ByteLevelBpe, "llama": SentencePieceBpe}
)


class TokenizerFiles:
    """The tokenizer that a GGUF describes.

    Raises UnsupportedError for unknown algorithms and pre-tokenizers, BrokenFileError for metadata
    that contradicts itself.
    """

    def __init__(self, gguf: GgufFile, embedding_rows: int) -> None:
        """``embedding_rows``: there is at least one for each token."""
        self._gguf = gguf
        model = gguf.get("tokenizer.ggml.model", str)
        if model not in ALGORITHMS:
            raise UnsupportedError(
                f"{gguf.path} has a tokenizer of the kind '{model}'; "
                f"these can be converted: {', '.join(sorted(ALGORITHMS))} "
                "(gpt2 is byte-level BPE, llama is SentencePiece's)"
            )
        self._vocabulary = Vocabulary(gguf, embedding_rows)
        self._algorithm = ALGORITHMS[model](gguf, self._vocabulary)

    def tokenizer_json(self) -> Json:
        """The content of ``tokenizer.json``, in the form of the ``tokenizers`` library."""
        return self._algorithm.tokenizer_json()

    def tokenizer_config(self) -> Json:
        """The content of Hugging Face's ``tokenizer_config.json``.

        onnxruntime-genai reads this file as well.
        """
        config: Json = {
            "tokenizer_class": self._algorithm.hf_class,
            "add_bos_token": self._algorithm.adds_bos,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": self._gguf.get(f"{self._gguf.architecture}.context_length", int),
            "added_tokens_decoder": {
                str(token["id"]): {key: value for key, value in token.items() if key != "id"}
                for token in self._algorithm.added_tokens()
            },
        }
        for name, number in (
            ("bos_token", self.bos),
            ("eos_token", self._vocabulary.special("eos")),
            ("pad_token", self.pad),
            ("unk_token", self._vocabulary.special("unknown")),
        ):
            config[name] = None if number is None else self._vocabulary.tokens[number]
        if self.chat_template:
            config["chat_template"] = self.chat_template
        return config

    @property
    def chat_template(self) -> str:
        """The Jinja template. It is empty when the model has none."""
        return self._gguf.get("tokenizer.chat_template", str, "")

    @property
    def bos(self) -> int | None:
        return self._vocabulary.special("bos")

    @property
    def pad(self) -> int | None:
        return self._vocabulary.special("padding")

    @property
    def ends(self) -> list[int]:
        """Every token that ends an answer: end of text, end of turn."""
        return self._vocabulary.ends
