"""Log probabilities of tokens as chats and as plain completions have them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from cupola.gateway.openai.answers import (
    ChoiceLogprobs,
    ContentLogprob,
    LegacyLogprobs,
    TopLogprob,
)
from cupola.scheduler.protocol.outputs import TokenLogprob

LOWEST = -9999.0  # OpenAI's number for what cannot be; JSON has no infinity


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> ChoiceLogprobs:
    return ChoiceLogprobs(
        tuple(
            ContentLogprob(
                _text(token.token),
                _finite(token.logprob),
                list(token.token),
                tuple(TopLogprob(_text(t), _finite(p), list(t)) for t, p in token.top),
            )
            for token in tokens
        )
    )


def legacy_logprobs(tokens: Sequence[TokenLogprob], offset: int = 0) -> LegacyLogprobs:
    """``offset``: characters of the choice's text before these tokens. NaN becomes null."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(_text(token.token))
    return LegacyLogprobs(
        tokens=[_text(token.token) for token in tokens],
        token_logprobs=[
            None if isnan(token.logprob) else _finite(token.logprob) for token in tokens
        ],
        top_logprobs=[{_text(t): _finite(p) for t, p in token.top} or None for token in tokens],
        text_offset=offsets,
    )


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST)
