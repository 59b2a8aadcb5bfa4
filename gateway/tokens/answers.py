"""The answers of the endpoints around the tokenizer."""

from __future__ import annotations

import msgspec


class TokenPiece(msgspec.Struct, frozen=True):
    id: int
    piece: str | list[int]  # bytes, where the token holds only a part of a character


class TokenList(msgspec.Struct, frozen=True):
    """llama-server's answer. It has pieces where ``with_pieces`` asks for them."""

    tokens: tuple[int | TokenPiece, ...]


class TokenizeAnswer(msgspec.Struct, frozen=True):
    """vLLM's answer."""

    count: int
    max_model_len: int
    tokens: tuple[int, ...]
    token_strs: list[str] | None


class DetokenizeAnswer(msgspec.Struct, frozen=True):
    """The text under two names: llama-server's and vLLM's."""

    content: str
    prompt: str


class TemplateAnswer(msgspec.Struct, frozen=True):
    prompt: str
