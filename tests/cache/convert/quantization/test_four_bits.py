"""Products with weights of four bits are those with the weights that a file has."""

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
from hypothesis import given

from cupola.cache.convert.formats.gguf_blocks import MIDDLE, CodedRows
from cupola.cache.convert.quantization.four_bits import (
    FourBitRows,
    round_blocks,
    rows_with_means,
    symmetric_rows,
)

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

BLOCK = 32
BLOCKS = st.integers(1, 70)


def coded(seed: int, blocks: int, minimums: tuple[float, float]) -> CodedRows:
    """Two rows. ``minimums``: the lowest and the highest offset, in steps."""
    random = np.random.default_rng(seed)
    scales = random.uniform(0.001, 0.1, (2, blocks)).astype(np.float32)
    return CodedRows(
        random.integers(0, 16, (2, blocks * BLOCK), np.uint8),
        scales,
        (scales * random.uniform(*minimums, scales.shape)).astype(np.float32),
    )


def weights(rows: CodedRows) -> Array:
    codes = rows.codes.reshape(*rows.scales.shape, -1).astype(np.float32)
    found: Array = (codes * rows.scales[..., None] + rows.offsets[..., None]).reshape(2, -1)
    return found


def unpacked(packed: Bytes) -> Bytes:
    found: Bytes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)
    return found


def dequantized(rows: FourBitRows) -> Array:
    """As MatMulNBits reads them, by its description."""
    codes = unpacked(rows.codes.reshape(2, -1)).reshape(*rows.scales.shape, -1).astype(np.float32)
    zero_points = np.full(rows.scales.shape, MIDDLE, np.float32)
    if rows.zero_points.size:
        zero_points = unpacked(rows.zero_points)[:, : rows.scales.shape[1]].astype(np.float32)
    found: Array = ((codes - zero_points[..., None]) * rows.scales[..., None]).reshape(2, -1)
    return found


@given(seed=st.integers(0, 1000), blocks=BLOCKS)
def test_symmetric_rows_are_the_same_weights(seed: int, blocks: int) -> None:
    rows = coded(seed, blocks, (-MIDDLE, -MIDDLE))
    np.testing.assert_allclose(dequantized(symmetric_rows(rows)), weights(rows), rtol=1e-6)


@given(
    seed=st.integers(0, 1000),
    blocks=BLOCKS,
    minimums=st.sampled_from([(-15.0, 0.0), (-8.0, -8.0), (-20.0, 5.0)]),
)
def test_rows_with_means_make_the_same_products(
    seed: int, blocks: int, minimums: tuple[float, float]
) -> None:
    rows = coded(seed, blocks, minimums)
    x = np.random.default_rng(seed).standard_normal((5, blocks * BLOCK)).astype(np.float32)
    means = x.reshape(5, blocks, BLOCK).mean(axis=-1)
    stored = dequantized(rows_with_means(rows))[:, : blocks * BLOCK + blocks]
    found = np.concatenate([x, means], axis=1) @ stored.T
    # A block's remainder is off by half a step of the remainders' own four bits.
    zero_points = np.clip(np.rint(-rows.offsets / rows.scales), 0, 15)
    remainders = rows.offsets + zero_points * rows.scales
    step = (remainders.max() - min(remainders.min(), 0)) / 15
    limit = np.abs(means * BLOCK).sum(axis=1, keepdims=True) * step + 1e-4
    assert (np.abs(found - x @ weights(rows).T) <= limit).all()


@given(
    arrays.arrays(
        np.float32, (2, 3, BLOCK), elements=st.floats(-1000, 1000, width=32, allow_subnormal=False)
    )
)
def test_rounding_is_off_by_a_step_at_most(blocks: Array) -> None:
    codes, scales, zero_points = round_blocks(blocks)
    assert codes.max() <= 15
    assert zero_points.max() <= 15
    found = (codes.astype(np.float32) - zero_points[..., None]) * scales[..., None]
    assert (np.abs(found - blocks) <= scales[..., None] * 1.001 + 1e-30).all()


def test_a_block_of_zeros_stays_zero() -> None:
    codes, scales, zero_points = round_blocks(np.zeros((1, 1, BLOCK), np.float32))
    assert ((codes - zero_points[..., None]) * scales[..., None] == 0).all()
