"""Blocks of a device's memory: each belongs to one row or is free, whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.kv.block_table import NO_BLOCK, BlockTable, OutOfBlocksError, blocks_for

ROWS, BLOCKS, BLOCK = 3, 6, 4
events = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, BLOCK * BLOCKS)))


@given(events)
def test_a_block_belongs_to_one_row_or_is_free(events: list[tuple[int, int]]):
    """An event is a row and its new length; 0: the row is forgotten."""
    table = BlockTable(ROWS, BLOCKS, BLOCK)
    lengths = dict.fromkeys(range(ROWS), 0)
    for row, length in events:
        before = table.table([row])[0].tolist()
        try:
            table.grow(row, length) if length else table.forget(row)
        except OutOfBlocksError:
            after = table.table([row])[0].tolist()
            assert after == before
            continue
        lengths[row] = max(lengths[row], length) if length else 0
        held = [block for block in table.table(range(ROWS)).ravel() if block != NO_BLOCK]
        assert len(set(held)) == len(held) == BLOCKS - table.free
        assert len(held) == sum(-(-length // BLOCK) for length in lengths.values())


def test_blocks_of_a_row_keep_their_order_while_it_grows():
    table = BlockTable(ROWS, BLOCKS, BLOCK)
    table.grow(0, 1)
    table.grow(1, BLOCK + 1)
    first = table.table([0])[0].tolist()
    table.grow(0, 2 * BLOCK + 1)
    assert table.table([0])[0].tolist()[: len(first)] == first
    assert table.table([0, 1])[1].tolist()[2:] == [NO_BLOCK]


def test_too_long_a_row_is_refused_and_takes_nothing():
    table = BlockTable(ROWS, BLOCKS, BLOCK)
    table.grow(0, BLOCK)
    with pytest.raises(OutOfBlocksError, match="6 blocks are wanted and 5 are free"):
        table.grow(1, BLOCK * BLOCKS)
    assert table.free == BLOCKS - 1


@given(st.lists(st.integers(0, 5 * BLOCK), min_size=1), st.integers(0, 2 * BLOCK))
def test_rows_within_their_positions_never_run_out_of_blocks(lengths: list[int], spare: int):
    table = BlockTable(len(lengths), blocks_for(sum(lengths) + spare, len(lengths), BLOCK), BLOCK)
    for row, length in enumerate(lengths):
        table.grow(row, length)
