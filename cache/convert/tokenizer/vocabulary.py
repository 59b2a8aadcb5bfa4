"""The vocabulary that a GGUF's metadata holds: tokens, their kinds, and the special ones."""

from __future__ import annotations

import enum

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.model_tokenizer import END_TOKENS
from cupola.cache.errors import BrokenFileError


class TokenKind(enum.IntEnum):
    """``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Vocabulary:
    """The tokens of one file. A token's number is its place in ``tokens``.

    Raises BrokenFileError for metadata that contradicts itself.
    """

    def __init__(self, gguf: GgufFile, embedding_rows: int) -> None:
        """``embedding_rows``: there is at least one for each token."""
        self._gguf = gguf
        self.tokens = self.texts("tokenizer.ggml.tokens")
        self.kinds: list[int] = gguf.get("tokenizer.ggml.token_type", list, [TokenKind.NORMAL])
        if len(self.kinds) == 1:
            self.kinds = self.kinds * len(self.tokens)
        path = gguf.path
        if not 0 < len(self.tokens) <= embedding_rows:
            raise BrokenFileError(
                f"{path} has {len(self.tokens)} tokens for an embedding of {embedding_rows} rows"
            )
        if len(self.kinds) != len(self.tokens):
            raise BrokenFileError(
                f"{path} has {len(self.kinds)} token types for {len(self.tokens)} tokens"
            )
        if len(set(self.tokens)) != len(self.tokens):
            raise BrokenFileError(f"{path} has the same token twice")

    def special(self, name: str) -> int | None:
        """The token that the file gives the role ``name``: "bos", "eos", "padding", ..."""
        key = f"tokenizer.ggml.{name}_token_id"
        number = self._gguf.get(key, int, -1)
        if number == -1:
            return None
        if not 0 <= number < len(self.tokens):
            raise BrokenFileError(f"{self._gguf.path}: '{key}' is {number}, not in the vocabulary")
        return number

    @property
    def ends(self) -> list[int]:
        """Every token that ends an answer: end of text, end of turn."""
        found = {self.special(name) for name in ("eos", "eot", "eom")}
        found |= {number for number, token in enumerate(self.tokens) if token in END_TOKENS}
        return sorted(number for number in found if number is not None)

    def texts(self, key: str) -> list[str]:
        """The metadata ``key``, which must be a list of texts. Raises BrokenFileError."""
        values = self._gguf.get(key, list)
        if not all(type(value) is str for value in values):
            raise BrokenFileError(f"{self._gguf.path}: '{key}' holds other things than texts")
        return values
