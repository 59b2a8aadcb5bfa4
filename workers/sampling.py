"""Chooses the next token of every row of a step in one vectorised pass.

The order is that of vLLM: temperature, then top_k, then top_p on what top_k left. The draw is by
inverse transform with one uniform number a token from the row's own generator, so that a seeded
sequence makes the same tokens whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.messages import SamplingParams

_CANDIDATES = 256  # tokens sorted at first; nearly always enough for top_p


@dataclass(slots=True)
class Sampler:
    """One sequence's parameters and its random numbers."""

    params: SamplingParams
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        seed = self.params.seed
        # Clients send any integer, the generator takes those that are not negative.
        self.random = np.random.Generator(np.random.Philox(None if seed is None else seed % 2**64))

    @property
    def greedy(self) -> bool:
        return self.params.temperature == 0 or self.params.top_k == 1


def sample(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> NDArray[np.int64]:
    """Next tokens ``[R]`` for logits ``[R, vocabulary]``. Raises FloatingPointError for NaN."""
    best: NDArray[np.int64] = logits.argmax(axis=1)
    # argmax finds a NaN where there is one, so one look a row covers the whole row.
    if np.isnan(logits[np.arange(len(best)), best]).any():
        raise FloatingPointError("the model's logits are not numbers")
    drawn = [row for row, sampler in enumerate(samplers) if not sampler.greedy]
    if drawn:
        best[drawn] = _draw(logits[drawn], [samplers[row] for row in drawn])
    return best


def _draw(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> NDArray[np.int64]:
    temperature = np.array([s.params.temperature for s in samplers], np.float32)
    uniform = np.array([s.random.random() for s in samplers])
    weights = logits / temperature[:, None]
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    tokens = np.empty(len(samplers), np.int64)
    for row, sampler in enumerate(samplers):
        tokens[row] = _pick(weights[row], sampler.params, uniform[row])
    return tokens


def _pick(weights: NDArray[np.float32], params: SamplingParams, uniform: float) -> int:
    """A token drawn from one row's weights, which need not add up to one."""
    limited = 0 < params.top_k < weights.size
    if not limited and params.top_p == 1.0:
        return _invert(weights, uniform)
    count = params.top_k if limited else _CANDIDATES
    total = None if limited else weights.sum(dtype=np.float64)
    while True:
        order = _largest(weights, count)
        kept = weights[order].astype(np.float64)
        cumulative = np.cumsum(kept)
        enough = params.top_p * (cumulative[-1] if total is None else total)
        if limited or cumulative[-1] >= enough or order.size == weights.size:
            within = cumulative - kept < enough  # the first that reaches top_p is still in
            return int(order[within][_invert(kept[within], uniform)])
        count *= 8


def _largest(weights: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest weights, largest first, without sorting the rest."""
    if count >= weights.size:
        return np.argsort(-weights, kind="stable")
    order = np.argpartition(weights, -count)[-count:]
    return order[np.argsort(-weights[order], kind="stable")]


def _invert(weights: NDArray[np.floating], uniform: float) -> int:
    """The first index at which the cumulative weight exceeds ``uniform`` of the total."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    return int(
        min(np.searchsorted(cumulative, uniform * cumulative[-1], "right"), weights.size - 1)
    )
