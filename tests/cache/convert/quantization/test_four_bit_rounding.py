"""Weights of more bits are rounded to four with small errors."""

import numpy as np
import numpy.typing as npt
import pytest

from cupola.cache.convert.formats.gguf_blocks import CodedRows
from cupola.cache.convert.quantization.four_bit_rounding import nearest_codes
from cupola.cache.convert.quantization.four_bit_weights import keeps_more_bits

Array = npt.NDArray[np.float32]


def weights(rows: CodedRows) -> Array:
    codes = rows.codes.reshape(*rows.scales.shape, -1).astype(np.float32)
    whole = codes * rows.scales[..., None] + rows.offsets[..., None]
    found: Array = whole.reshape(rows.codes.shape)
    return found


def rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


def test_a_searched_range_is_better_than_the_whole_one() -> None:
    rows = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    found = nearest_codes(rows)
    assert found.codes.max() <= 15
    low, high = (each(rows.reshape(64, 8, 32), axis=-1, keepdims=True) for each in (np.min, np.max))
    step = (high - low) / 15
    plain = np.rint((rows.reshape(64, 8, 32) - low) / step) * step + low
    assert rms(weights(found) - rows) < 0.98 * rms(plain.reshape(64, 256) - rows)


def test_what_has_sixteen_levels_is_exact() -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 16, (4, 64)).astype(np.float32)
    rows[:, ::32], rows[:, 1::32] = 0, 15
    np.testing.assert_allclose(weights(nearest_codes(rows)), rows, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0])
def test_a_block_of_one_value_is_exact(value: float) -> None:
    rows = np.full((2, 64), value, np.float32)
    np.testing.assert_allclose(weights(nearest_codes(rows)), rows, atol=1e-6)


def test_about_half_of_the_layers_keep_more_bits() -> None:
    kept = [layer for layer in range(32) if keeps_more_bits(layer, 32)]
    assert kept == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
