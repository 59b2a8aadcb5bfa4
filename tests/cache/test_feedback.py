"""Errors of rounding cancel each other in the products."""

import numpy as np
import numpy.typing as npt

from cupola.cache.feedback import round_channels
from cupola.cache.quantize import quantize_channels

Array = npt.NDArray[np.float32]


def test_products_are_nearer_than_with_each_weight_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((24, 96), np.float32)
    # Channels that go together, as a model's do.
    mixing = (
        random.standard_normal((96, 96), np.float32) * np.float32(0.1) ** np.arange(96)[:, None]
    )
    text, unseen = random.standard_normal((2, 400, 96), np.float32) @ mixing
    corrected, nearest = round_channels(rows, text), quantize_channels(rows)
    assert error(*corrected, rows, unseen) < 0.5 * error(*nearest, rows, unseen)
    assert np.abs(corrected[0]).max() <= 127


def test_inputs_of_zeros_are_no_division_by_zero() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 32), np.float32)
    codes, scales = round_channels(rows, np.zeros((3, 32), np.float32))
    assert np.array_equal(codes, quantize_channels(rows)[0])
    assert np.isfinite(scales).all()


def error(codes: npt.NDArray[np.int8], scales: Array, rows: Array, inputs: Array) -> float:
    difference = inputs @ (codes * scales[:, None] - rows).T
    return float(np.sqrt((difference**2).mean()))
