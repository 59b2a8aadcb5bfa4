"""Samples the next token of every row of a step, without a loop or a sort over the vocabulary.

The order is that of vLLM: penalties and biases, temperature, min_p, top_k, typical_p, then top_p on
what is left. A token is drawn by inverse transform, with one uniform number from the row's own
generator. So a seeded sequence gets the same tokens whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.workers.sampling.penalties import Penalties

NOTHING = -1  # no token

# Tokens that are less likely than the best one by so many nats are left out. A whole vocabulary of
# them weighs less than a millionth of the best one.
_NEGLIGIBLE = 25.0
_WIDE = 0.6  # from this temperature on, the search for negligible tokens costs more than it saves
_DEALT = 64  # values of a row in a group
_BLOCK = 256  # weights summed together
_NEAR = np.float32(4.0)  # nats; the tokens that decide are mostly within them
_SORTED = 512  # the most numbers that are sorted, as far as that is known before
_FIRST_BIN = 0x3C00  # the upper bits of 1/128; smaller values are in the same bin
_LOWEST = np.float32(-1e4)  # for the logarithm of nothing, in a product with nothing
_GREEDY = 1e-5  # below this temperature the best token is taken (vLLM's limit)


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
        return self.temperature < _GREEDY or self.top_k == 1


def penalize(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> None:
    """Apply each row's penalties and biases to the logits ``[R, vocabulary]``, in place."""
    for row, sampler in zip(logits, samplers, strict=True):
        if sampler.penalties is not None and sampler.penalties.active:
            sampler.penalties.apply(row)


def sample(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> NDArray[np.int64]:
    """The next tokens ``[R]`` for logits ``[R, vocabulary]``.

    A row gets NOTHING if its logits are not numbers, or if the best one is not finite.
    """
    best: NDArray[np.int64] = logits.argmax(axis=1)
    # argmax finds a NaN if there is one, so one number tells about the whole row.
    highest = logits[np.arange(len(best)), best]
    best[~np.isfinite(highest)] = NOTHING
    # One buffer for all rows: new memory costs more time than the sums.
    scratch = np.empty((2, logits.shape[1]), np.float32)
    for row, sampler in enumerate(samplers):
        if not sampler.greedy and best[row] != NOTHING:
            best[row] = _draw(logits[row], highest[row], sampler, scratch)
    return best


def _draw(
    row: NDArray[np.float32], highest: np.float32, sampler: Sampler, scratch: NDArray[np.float32]
) -> int:
    """A random token of one row of logits ``[vocabulary]``, whose highest value is given."""
    params, temperature = sampler.params, sampler.temperature
    # The logits show what min_p and top_k leave, before anything is exponentiated.
    depth = min(_NEGLIGIBLE, -math.log(params.min_p) if params.min_p > 0 else math.inf)
    tokens: NDArray[np.intp] | None = None  # None: all
    if 0 < sampler.top_k < row.size:
        tokens = largest(row, sampler.top_k)
        if params.min_p > 0:
            tokens = tokens[row[tokens] >= highest - depth * temperature]
    elif params.min_p > 0 or temperature < _WIDE:
        tokens = np.flatnonzero(row >= highest - depth * temperature)
    left = row if tokens is None else row[tokens]
    levels = np.subtract(left, highest, out=scratch[0, : left.size])
    levels *= np.float32(1 / temperature)
    weights = np.exp(levels, out=scratch[1, : left.size])
    for keep, share in ((_typical, params.typical_p), (_nucleus, sampler.top_p)):
        if share < 1.0:
            kept = keep(levels, weights, share)
            tokens = kept if tokens is None else tokens[kept]
            levels, weights = levels[kept], weights[kept]
    index = _place(weights, sampler.random.random())
    return index if tokens is None else int(tokens[index])


def largest(row: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest values of a row, in no order. It does not partition all of
    it.

    The row is dealt into groups. The ``count``-th largest maximum of the groups is a bound that at
    least ``count`` values reach, and few more do. Forbidden values (-inf) are never among them.
    """
    groups = row.size // _DEALT
    if count > groups // 2:
        return np.argpartition(row, -count)[-count:]
    maxima = row[: groups * _DEALT].reshape(_DEALT, groups).max(axis=0)
    bound = np.partition(maxima, -count)[-count]
    # A grammar may leave few tokens. To partition all that it forbids takes a millisecond.
    candidates = np.flatnonzero(row > bound if bound == -np.inf else row >= bound)
    if candidates.size <= count:
        return candidates
    return candidates[np.argpartition(row[candidates], -count)[-count:]]


def _place(weights: NDArray[np.float32], share: float) -> int:
    """Inverse transform: the first place where the cumulative weight exceeds ``share`` of the sum.

    It looks for a block first, then within the block, so that a long row needs no sum for each
    place.
    """
    begin = 0
    if weights.size > 2 * _BLOCK:
        sums = np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK)).astype(np.float64)
        cumulative = np.cumsum(sums)
        wanted = share * cumulative[-1]
        block = min(int(np.searchsorted(cumulative, wanted, "right")), sums.size - 1)
        begin, share = block * _BLOCK, (wanted - (cumulative[block] - sums[block])) / sums[block]
        weights = weights[begin : begin + _BLOCK]
    cumulative = np.cumsum(weights, dtype=np.float64)
    place = int(np.searchsorted(cumulative, share * cumulative[-1], "right"))
    return begin + min(place, weights.size - 1)


def _nucleus(
    levels: NDArray[np.float32], weights: NDArray[np.float32], share: float
) -> NDArray[np.intp]:
    """Indices of the fewest weights that make ``share`` of the sum. ``levels``: their logs."""
    return _nearest(np.abs(levels), weights, share)


def _typical(
    levels: NDArray[np.float32], weights: NDArray[np.float32], share: float
) -> NDArray[np.intp]:
    """Indices of the tokens whose surprise is nearest to the expected one (arXiv 2202.00666)."""
    # Surprise is -level plus a constant, which cancels in the difference to the expected surprise.
    expected = np.dot(weights, np.maximum(levels, _LOWEST)) / weights.sum(dtype=np.float64)
    return _nearest(np.abs(levels - np.float32(expected)), weights, share)


def _nearest(
    distances: NDArray[np.float32], weights: NDArray[np.float32], share: float
) -> NDArray[np.intp]:
    """Indices of the fewest weights that make ``share`` of the sum, nearest first; at least one.

    Only the weights that decide are sorted. If the near weights are too few or too many for that,
    the deciding ones are found by counting: floats that are not negative have the order of their
    upper bits, which are sign, exponent and seven bits of the fraction.
    """
    enough = share * float(weights.sum(dtype=np.float64))
    deciding = np.flatnonzero(distances <= _NEAR)
    surely: NDArray[np.intp] | None = None
    if deciding.size > _SORTED or weights[deciding].sum(dtype=np.float64) < enough:
        bins = (distances.view(np.int32) >> 16).astype(np.intp)  # else bincount does so slowly
        bins -= _FIRST_BIN
        np.maximum(bins, 0, out=bins)
        masses = np.bincount(bins, weights)
        cumulative = np.cumsum(masses)
        edge = min(int(np.searchsorted(cumulative, enough)), masses.size - 1)
        surely, deciding = np.flatnonzero(bins < edge), np.flatnonzero(bins == edge)
        enough -= cumulative[edge] - masses[edge]
    deciding = deciding[np.argsort(distances[deciding], kind="stable")]
    cumulative = np.cumsum(weights[deciding], dtype=np.float64)
    deciding = deciding[: int(np.searchsorted(cumulative, enough)) + 1]
    return deciding if surely is None else np.concatenate([surely, deciding])
