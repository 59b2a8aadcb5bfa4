"""How probable each token is by the definitions of the parameters: float64, sorts, no shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cupola.scheduler.protocol.tasks import SamplingParams


def distribution(
    logits: np.ndarray,
    params: SamplingParams,
    prompt: Sequence[int] = (),
    answer: Sequence[int] = (),
    ends: Sequence[int] = (),
) -> np.ndarray:
    """Of the next token, behind ``prompt`` and ``answer``; ``ends`` end the answer."""
    row = penalized(logits.astype(np.float64), params, prompt, answer, ends)
    if params.temperature == 0:
        return np.asarray(np.arange(row.size) == row.argmax(), float)
    row = (row - row.max()) / (1.0 if params.temperature is None else params.temperature)
    p = np.exp(row) / np.exp(row).sum()
    p = _only(p, p >= params.min_p * p.max())
    if params.top_k:
        p = _only(p, np.argsort(-p, kind="stable")[: params.top_k])
    if params.typical_p < 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = -np.log(p)
            distance = np.abs(surprise - np.nansum(p * surprise))
        p = _only(p, _fewest(np.argsort(distance, kind="stable"), p, params.typical_p))
    if params.top_p is not None and params.top_p < 1:
        p = _only(p, _fewest(np.argsort(-p, kind="stable"), p, params.top_p))
    return p


def penalized(
    row: np.ndarray,
    params: SamplingParams,
    prompt: Sequence[int],
    answer: Sequence[int],
    ends: Sequence[int],
) -> np.ndarray:
    row = row.copy()
    for token in set(prompt) | set(answer):
        factor = params.repetition_penalty or 1.0
        row[token] = row[token] / factor if row[token] > 0 else row[token] * factor
    for token in set(answer):
        row[token] -= answer.count(token) * params.frequency_penalty + params.presence_penalty
    for token, bias in params.logit_bias.items():
        if token < row.size:
            row[token] += bias
    if len(answer) < params.min_tokens:
        row[list(ends)] = -np.inf
    return row


def _fewest(order: np.ndarray, p: np.ndarray, share: float) -> np.ndarray:
    before = np.cumsum(p[order]) - p[order]
    return np.asarray(order[before < share])


def _only(p: np.ndarray, kept: np.ndarray) -> np.ndarray:
    left = np.zeros_like(p)
    left[kept] = p[kept]
    return np.asarray(left / left.sum())
