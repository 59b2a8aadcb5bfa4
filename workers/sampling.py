"""Chooses the next token of every row of a step, without a loop or a sort over the vocabulary.

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

# Tokens so much less likely than the best one, in nats, are left out: a whole vocabulary of them
# weighs less than a millionth of it.
_NEGLIGIBLE = np.float32(25.0)
_WIDE = 0.6  # from this temperature on next to no token is negligible, and looking costs more


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
    for row, sampler in enumerate(samplers):
        if not sampler.greedy:
            best[row] = _draw(logits[row], float(logits[row, best[row]]), sampler)
    return best


def _draw(row: NDArray[np.float32], highest: float, sampler: Sampler) -> int:
    """A token of one row of logits ``[vocabulary]``, whose highest is given."""
    temperature = np.float32(sampler.temperature)
    if temperature < _WIDE:
        tokens = np.flatnonzero(row >= highest - _NEGLIGIBLE * temperature)
        row = row[tokens]
    else:
        tokens = np.arange(row.size)
    weights = np.exp((row - np.float32(highest)) / temperature).astype(np.float64)
    params = sampler.params
    if params.min_p > 0:
        tokens, weights = _keep(weights >= params.min_p, tokens, weights)
    if 0 < sampler.top_k < tokens.size:
        tokens, weights = _keep(_largest(weights, sampler.top_k), tokens, weights)
    if params.typical_p < 1.0:
        tokens, weights = _keep(_typical(weights, params.typical_p), tokens, weights)
    if sampler.top_p < 1.0:
        tokens, weights = _keep(_nucleus(weights, sampler.top_p), tokens, weights)
    cumulative = np.cumsum(weights)
    # Inverse transform: the first place where the cumulative weight exceeds its share.
    index = int(np.searchsorted(cumulative, sampler.random.random() * cumulative[-1], "right"))
    return int(tokens[min(index, tokens.size - 1)])


Indices = NDArray[np.intp] | NDArray[np.bool_]


def _keep(
    which: Indices, tokens: NDArray[np.intp], weights: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    return tokens[which], weights[which]


def _largest(weights: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest weights, without sorting the rest."""
    return np.argpartition(weights, -count)[-count:]


def _nucleus(weights: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Indices of the fewest weights that make ``share`` of the whole, largest first."""
    enough = share * weights.sum()
    threshold = weights.max() / 64
    while True:  # until those above the threshold make the share: only they need to be sorted
        likely = np.flatnonzero(weights >= threshold)
        if likely.size == weights.size or weights[likely].sum() >= enough:
            break
        threshold /= 16
    order = likely[np.argsort(-weights[likely], kind="stable")]
    cumulative = np.cumsum(weights[order])
    nucleus: NDArray[np.intp] = order[cumulative - weights[order] < enough]
    return nucleus


def _typical(weights: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Indices of those whose surprise is nearest to the expected one (arXiv 2202.00666)."""
    probable = weights / weights.sum()
    surprise = -np.log(np.maximum(probable, 1e-300))
    order = np.argsort(np.abs(surprise - (probable * surprise).sum()), kind="stable")
    cumulative = np.cumsum(probable[order])
    typical: NDArray[np.intp] = order[cumulative - probable[order] < share]
    return typical
