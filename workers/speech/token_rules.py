"""Which token follows in a transcript: Whisper's rules, and the draw. Pure.

The rules are those of the reference, ``decoding.py``: times come in pairs and never go back, a
transcript begins with a time, and a time is taken where all times together are more probable than
the best text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cupola.workers.speech.log_mel import Floats
from cupola.workers.speech.speech_tokens import SECONDS_A_STEP, SpeechTokens

_LATEST_FIRST = round(1.0 / SECONDS_A_STEP)  # the first time may be one second at most


class Chosen(NamedTuple):
    token: int
    logprob: float


def choose(
    logits: Floats,
    chosen: Sequence[int],
    tokens: SpeechTokens,
    temperature: float,
    random: np.random.Generator,
) -> Chosen:
    """The token behind those that were ``chosen``. ``logits`` are changed."""
    scores = allowed(logits, chosen, tokens)
    if temperature <= 0:
        token = int(scores.argmax())
    else:
        weights = np.exp((scores - scores.max()).astype(np.float64) / temperature)
        token = int(random.choice(len(weights), p=weights / weights.sum()))
    return Chosen(token, float(scores[token]) - log_sum(scores))


def allowed(logits: Floats, chosen: Sequence[int], tokens: SpeechTokens) -> Floats:
    """``logits`` in which tokens that may not follow are impossible. They are changed."""
    never = -np.inf
    first_time, end = tokens.first_time, tokens.end
    logits[tokens.suppressed] = never
    logits[tokens.no_times] = never
    logits[tokens.vocabulary :] = never
    if not chosen:
        logits[tokens.suppressed_first] = never
        logits[:first_time] = never
        logits[first_time + _LATEST_FIRST + 1 :] = never
        return logits
    is_time = chosen[-1] >= first_time
    after_time = len(chosen) < 2 or chosen[-2] >= first_time
    if is_time and after_time:
        logits[first_time:] = never  # a pair is complete: text or the end follows
    elif is_time:
        logits[:end] = never  # it ends a segment: the next one's beginning or the end follows
    if (latest := max((t for t in chosen if t >= first_time), default=None)) is not None:
        # A segment may begin when the last one ends, and has a length.
        same = is_time and not after_time
        logits[first_time : latest + (0 if same else 1)] = never
    if log_sum(logits[first_time : tokens.vocabulary]) > logits[:first_time].max():
        logits[:first_time] = never
    return logits


def probabilities(logits: Floats, tokens: Sequence[int]) -> list[float]:
    """Of ``tokens``, each in its row of ``logits``."""
    return [probability(row, token) for row, token in zip(logits, tokens, strict=True)]


def probability(logits: Floats, token: int) -> float:
    return float(np.exp(float(logits[token]) - log_sum(logits)))


def log_sum(logits: Floats) -> float:
    """The logarithm of the sum of the exponentials."""
    if (largest := float(logits.max())) == -np.inf:
        return largest
    return largest + float(np.log(np.exp(logits - np.float32(largest)).sum()))
