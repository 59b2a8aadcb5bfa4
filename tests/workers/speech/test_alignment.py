"""Attention to times: against plain loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.speech.alignment import attention, median_filter, token_times, warp

Floats = npt.NDArray[np.float32]


def cheapest(costs: Floats) -> float:
    """Of all ways through ``costs``, cell by cell."""
    total = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for row in range(1, total.shape[0]):
        for column in range(1, total.shape[1]):
            before = total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]
            total[row, column] = costs[row - 1, column - 1] + min(before)
    return float(total[-1, -1])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_the_way_is_whole_and_the_cheapest(height: int, width: int, seed: int) -> None:
    costs = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    rows, columns = warp(costs)
    assert (rows[0], columns[0]) == (0, 0) and (rows[-1], columns[-1]) == (height - 1, width - 1)
    steps = set(zip(np.diff(rows).tolist(), np.diff(columns).tolist(), strict=True))
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    assert costs[rows, columns].sum() == pytest.approx(cheapest(costs), abs=1e-4)


def test_the_median_of_neighbours() -> None:
    x = np.array([[1, 9, 2, 8, 3]], np.float32)
    np.testing.assert_array_equal(median_filter(x, 3), [[9, 2, 8, 3, 8]])
    np.testing.assert_array_equal(median_filter(x[:, :1], 3), x[:, :1])


def test_attention_is_a_softmax() -> None:
    random = np.random.default_rng(0)
    queries, keys = random.standard_normal((3, 4)), random.standard_normal((5, 4))
    found = attention(queries.astype(np.float32), keys.astype(np.float32))
    expected = np.exp(queries @ keys.T / 2)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-6)


def test_tokens_begin_where_the_heads_look() -> None:
    weights = np.full((2, 6, 60), 1e-3, np.float32)  # a beginning, three tokens, the end
    for row, start in enumerate((0, 0, 10, 25, 40, 59)):
        weights[:, row, start : start + 10] = 1.0
    times = token_times(weights, 1)
    assert times.tolist() == pytest.approx([0, 0.2, 0.5, 0.8], abs=0.11)
