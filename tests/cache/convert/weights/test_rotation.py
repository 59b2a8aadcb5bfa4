"""The matrix is orthogonal, and spreads one channel evenly."""

import numpy as np
import pytest

from cupola.cache.convert.weights.rotation import rotate


@pytest.mark.parametrize("size", [1, 2, 7, 32, 64, 96, 302, 576])
def test_the_matrix_is_orthogonal_and_even(size: int) -> None:
    matrix = rotate(np.eye(size, dtype=np.float32), size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-5)
    assert np.abs(matrix).max() <= np.sqrt(2 / size) + 1e-6
    if size & (size - 1) == 0:
        assert np.abs(np.abs(matrix) - 1 / np.sqrt(size)).max() < 1e-6


def test_channels_are_rotated_in_groups() -> None:
    values = np.random.default_rng(0).standard_normal((3, 64), np.float32)
    halves = [rotate(half, 32) for half in np.split(values, 2, axis=-1)]
    np.testing.assert_allclose(rotate(values, 32), np.concatenate(halves, axis=-1), atol=1e-6)
