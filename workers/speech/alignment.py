"""When each token of a transcript was said, by what the decoder attends to. Pure.

The method is that of Whisper's reference, ``timing.py``: the attention of a few heads follows the
sound, and dynamic time warping finds the best way through it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cupola.workers.speech.log_mel import Floats

POSITIONS_A_SECOND = 50  # of the encoder
_SMOOTHED = 7  # positions of the median filter
_DIAGONAL, _UP, _LEFT = range(3)


def token_times(weights: Floats, first: int) -> NDArray[np.float64]:
    """Seconds at which each row of ``weights`` ``[heads, tokens, positions]`` begins.

    The rows begin with ``first`` and end before the last one, which is the end of the text.
    """
    spread = weights.std(axis=1, keepdims=True)
    standard = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-20)
    mean = median_filter(standard, _SMOOTHED).mean(axis=0)
    rows, columns = warp(-mean[first:-1])
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    return columns[begins] / POSITIONS_A_SECOND


def attention(queries: Floats, keys: Floats) -> Floats:
    """How much each of ``queries`` ``[tokens, size]`` attends to ``keys`` ``[positions, size]``."""
    scores = queries @ keys.T / np.float32(np.sqrt(queries.shape[-1]))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=-1, keepdims=True), np.float32)


def median_filter(x: Floats, width: int) -> Floats:
    """Over the last axis, which is mirrored at its ends. Unchanged where it is too short."""
    half = width // 2
    if x.shape[-1] <= half:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    return np.asarray(np.partition(views, half, axis=-1)[..., half], np.float32)


def warp(costs: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest way from the first corner of ``costs`` to the last: its rows and columns.

    A step goes to the next row, to the next column, or to both.
    """
    height, width = costs.shape
    count = height + width - 1
    # The cells of an anti-diagonal depend on the two before it only, so each is done at once.
    diagonals = np.full((count, height), np.inf, np.float64)
    row, column = np.indices(costs.shape)
    diagonals[row + column, row] = costs
    steps = np.empty((count, height), np.int8)
    last = np.full(height + 1, np.inf)
    before = last.copy()
    before[0] = 0.0
    for number in range(count):
        diagonal, up, left = before[:-1], last[:-1], last[1:]
        step = np.where((up < diagonal) & (up < left), _UP, _LEFT)
        step[(diagonal < up) & (diagonal < left)] = _DIAGONAL
        steps[number] = step
        total = np.where(step == _DIAGONAL, diagonal, np.where(step == _UP, up, left))
        before, last = last, np.concatenate(([np.inf], diagonals[number] + total))
    return _path(steps, height, width)


def _path(
    steps: NDArray[np.int8], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row, column = height - 1, width - 1
    path = [(row, column)]
    while row or column:
        step = _LEFT if not row else _UP if not column else steps[row + column, row]
        row -= step != _LEFT
        column -= step != _UP
        path.append((row, column))
    rows, columns = np.array(path[::-1], np.int64).T
    return rows, columns
