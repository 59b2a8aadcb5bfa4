"""Errors of rounding cancel each other in the products."""

import numpy as np
import numpy.typing as npt

from cupola.cache.convert.quantization.gptq import gptq_channels
from cupola.cache.convert.quantization.quantize import quantize_channels

Array = npt.NDArray[np.float32]


def test_products_are_nearer_than_with_each_weight_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((24, 96), np.float32)
    # Channels that go together, as a model's do.
    mixing = (
        random.standard_normal((96, 96), np.float32) * np.float32(0.1) ** np.arange(96)[:, None]
    )
    text, unseen = random.standard_normal((2, 400, 96), np.float32) @ mixing
    corrected, nearest = gptq_channels(rows, text), quantize_channels(rows)
    assert error(*corrected, rows, unseen) < 0.5 * error(*nearest, rows, unseen)
    assert np.abs(corrected[0]).max() <= 127


def test_columns_of_wide_matrices_are_corrected_in_groups() -> None:
    random = np.random.default_rng(0)
    rows, text = (random.standard_normal((count, 96), np.float32) for count in (24, 400))
    codes, scales = gptq_channels(rows, text, group=64)
    for group in (np.s_[:, :64], np.s_[:, 64:]):
        padded = np.concatenate([rows[group], np.abs(rows).max(axis=1, keepdims=True)], axis=1)
        alone, same_scales = gptq_channels(padded, np.pad(text[group], ((0, 0), (0, 1))))
        assert np.array_equal(scales, same_scales)
        assert (codes[group] == alone[:, :-1]).mean() > 0.99


def test_inputs_of_zeros_are_no_division_by_zero() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 32), np.float32)
    codes, scales = gptq_channels(rows, np.zeros((3, 32), np.float32))
    assert np.array_equal(codes, quantize_channels(rows)[0])
    assert np.isfinite(scales).all()


def error(codes: npt.NDArray[np.int8], scales: Array, rows: Array, inputs: Array) -> float:
    difference = inputs @ (codes * scales[:, None] - rows).T
    return float(np.sqrt((difference**2).mean()))
