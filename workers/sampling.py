"""Chooses the next token of every row of a step in one vectorised pass.

The order is that of vLLM: penalties and biases, temperature, min_p, top_k, typical_p, top_p on what
is left. The draw is by inverse transform with one uniform number a token from the row's own
generator, so that a seeded sequence makes the same tokens whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.messages import SamplingParams
from cupola.workers.penalties import Penalties

_CANDIDATES = 256  # tokens sorted at first; nearly always enough for top_p


@dataclass(slots=True)
class Sampler:
    """One sequence's parameters, its penalties and its random numbers."""

    params: SamplingParams
    stream: int = 0  # which of the request's answers: each has random numbers of its own
    penalties: Penalties | None = None
    random: np.random.Generator = field(init=False)
    temperature: float = field(init=False)
    top_p: float = field(init=False)
    top_k: int = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self.temperature = 1.0 if params.temperature is None else params.temperature
        self.top_p = 1.0 if params.top_p is None else params.top_p
        self.top_k = params.top_k or 0
        seed = self.params.seed
        # Clients send any integer, the generator takes those that are not negative.
        key = None if seed is None else np.random.SeedSequence([seed % 2**64, self.stream])
        self.random = np.random.Generator(np.random.Philox(key))

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1


def penalize(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> None:
    """Change the rows ``[R, vocabulary]`` as each one's penalties and biases want it, in place."""
    for row, sampler in zip(logits, samplers, strict=True):
        if sampler.penalties is not None and sampler.penalties.active:
            sampler.penalties.apply(row)


def sample(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> NDArray[np.int64]:
    """Next tokens ``[R]`` for logits ``[R, vocabulary]``.

    Raises FloatingPointError for logits that are no numbers.
    """
    best: NDArray[np.int64] = logits.argmax(axis=1)
    # argmax finds a NaN where there is one, so one look a row covers the whole row.
    if np.isnan(logits[np.arange(len(best)), best]).any():
        raise FloatingPointError("the model's logits are not numbers")
    drawn = [row for row, sampler in enumerate(samplers) if not sampler.greedy]
    if drawn:
        best[drawn] = _draw(logits[drawn], [samplers[row] for row in drawn])
    return best


def _draw(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> NDArray[np.int64]:
    temperature = np.array([s.temperature for s in samplers], np.float32)
    uniform = np.array([s.random.random() for s in samplers])
    weights = logits / temperature[:, None]
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    tokens = np.empty(len(samplers), np.int64)
    for row, sampler in enumerate(samplers):
        tokens[row] = _pick(weights[row], sampler, uniform[row])
    return tokens


def _pick(weights: NDArray[np.float32], sampler: Sampler, uniform: float) -> int:
    """A token drawn from one row's weights: the best one's is 1, and they add up to anything."""
    params = sampler.params
    if params.min_p > 0:
        weights[weights < params.min_p] = 0
    if params.typical_p < 1.0:
        weights = _typical(weights, params.typical_p)
    limited = 0 < sampler.top_k < weights.size
    if not limited and sampler.top_p == 1.0:
        return _invert(weights, uniform)
    count = sampler.top_k if limited else _CANDIDATES
    total = None if limited else weights.sum(dtype=np.float64)
    while True:
        order = _largest(weights, count)
        kept = weights[order].astype(np.float64)
        cumulative = np.cumsum(kept)
        enough = sampler.top_p * (cumulative[-1] if total is None else total)
        if limited or cumulative[-1] >= enough or order.size == weights.size:
            within = cumulative - kept < enough  # the first that reaches top_p is still in
            return int(order[within][_invert(kept[within], uniform)])
        count *= 8


def _typical(weights: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Keep the tokens whose surprise is nearest to the expected one (arXiv 2202.00666)."""
    probable = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    surprise = -np.log(np.maximum(probable, 1e-300))
    order = np.argsort(np.abs(surprise - (probable * surprise).sum()), kind="stable")
    cumulative = np.cumsum(probable[order])
    left = np.zeros_like(weights)
    within = order[cumulative - probable[order] < share]
    left[within] = weights[within]
    return left


def _largest(weights: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest weights, largest first, without sorting the rest."""
    if count >= weights.size:
        return np.argsort(-weights, kind="stable")
    order = np.argpartition(weights, -count)[-count:]
    return order[np.argsort(-weights[order], kind="stable")]


def _invert(weights: NDArray[np.floating], uniform: float) -> int:
    """The first index at which the cumulative weight exceeds ``uniform`` of the total."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    index = np.searchsorted(cumulative, uniform * cumulative[-1], "right")
    return min(int(index), weights.size - 1)
