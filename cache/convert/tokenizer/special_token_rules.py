"""What all tokenizers of a GGUF have in common: special tokens, and the one at the beginning."""

from __future__ import annotations

from typing import Any

from cupola.cache.convert.tokenizer.vocabulary import TokenKind, Vocabulary

Json = dict[str, Any]

_ADDED = (TokenKind.CONTROL, TokenKind.USER_DEFINED, TokenKind.UNKNOWN)


def added_tokens(vocabulary: Vocabulary) -> list[Json]:
    """The tokens that are found in the text before it is cut into words."""
    tokens = zip(vocabulary.tokens, vocabulary.kinds, strict=True)
    return [
        added_token(number, token, special=kind != TokenKind.USER_DEFINED)
        for number, (token, kind) in enumerate(tokens)
        if kind in _ADDED
    ]


def added_token(number: int, token: str, *, special: bool) -> Json:
    """One of them, as ``tokenizer.json`` has it."""
    return {
        "id": number,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def with_bos(token: str, number: int) -> Json:
    """The post-processor that puts ``token`` in front of each text."""
    return {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": token, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [
            {"SpecialToken": {"id": token, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": token, "type_id": 1}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


def around_pairs(begin: tuple[str, int], end: tuple[str, int]) -> Json:
    """RoBERTa's post-processor: ``<s> A </s>``, and ``<s> A </s></s> B </s>``.

    ``begin`` and ``end``: tokens with their numbers.
    """
    (first, _), (last, _) = begin, end
    opening, closing = ({"SpecialToken": {"id": each, "type_id": 0}} for each in (first, last))
    one, other = ({"Sequence": {"id": each, "type_id": 0}} for each in ("A", "B"))
    return {
        "type": "TemplateProcessing",
        "single": [opening, one, closing],
        "pair": [opening, one, closing, closing, other, closing],
        "special_tokens": {
            token: {"id": token, "ids": [number], "tokens": [token]}
            for token, number in (begin, end)
        },
    }
