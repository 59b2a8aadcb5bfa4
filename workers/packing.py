"""Packs the rows of a run into its inputs; see serving_graph for their shapes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Row:
    """What one run reads for one slot: ``tokens`` behind the ``past`` positions in the cache."""

    slot: int
    past: int
    tokens: Sequence[int]
    logits: int  # of how many of the last tokens
    long: bool = False  # with the second rotary table, where the model has two


def runs(rows: Sequence[Row], most: int) -> list[Sequence[Row]]:
    """The rows in one run, or those of one token in a run of their own before the others.

    Beside rows of several tokens the CPU's attention copies the keys and values of all rows before
    it reads them. Where the rows of one token have more than ``most`` positions of them, it is
    cheaper to read the weights twice.
    """
    first = next((n for n, row in enumerate(rows) if len(row.tokens) > 1), len(rows))
    if first < len(rows) and sum(row.past for row in rows[:first]) > most:
        return [rows[:first], rows[first:]]
    return [rows]


def span(rows: Sequence[Row]) -> range:
    """The slots that a run of these rows covers. Those that have no row are idle in it."""
    return range(min(row.slot for row in rows), max(row.slot for row in rows) + 1)


def pack(rows: Sequence[Row], slots: range) -> dict[str, NDArray[np.generic]]:
    """The inputs of one run over ``slots``.

    Tokens are packed in the order of ``rows``, and so are the logits.
    """
    counts = np.array([len(row.tokens) for row in rows], np.int64)
    at = np.array([row.slot for row in rows], np.int64) - slots.start
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    width = int(counts.max())

    query = np.zeros(len(slots), np.int32)
    query[at] = counts
    lengths = np.ones(len(slots), np.int64)  # an idle row must claim one cached position or more
    lengths[at] = [row.past + len(row.tokens) for row in rows]

    # Every place of the grid names some packed token; those behind a row's end are never used.
    columns = np.arange(width)
    grid = np.zeros((len(slots), width, 2), np.int64)
    grid[at, :, 1] = starts[:, None] + np.minimum(columns, counts[:, None] - 1)
    ungrid = np.empty((1, total, 2), np.int64)
    ungrid[0, :, 0] = np.repeat(at, counts)
    ungrid[0, :, 1] = np.arange(total) - np.repeat(starts, counts)

    ends = (starts + counts).tolist()
    last = [
        end - back for row, end in zip(rows, ends, strict=True) for back in range(row.logits, 0, -1)
    ]
    return {
        "input_ids": np.array([[token for row in rows for token in row.tokens]], np.int64),
        "grid": grid,
        "ungrid": ungrid,
        "last": np.array(last or [0], np.int64),  # the head needs one
        "seqlens_k": (lengths - 1).astype(np.int32),
        "query_seqlens": query,
        "total_len": np.array(max(int(lengths.max()), width), np.int32),
    }


def positions(rows: Sequence[Row], shift: int) -> NDArray[np.int64]:
    """Where each packed token stands in its sequence: ``[1, T]``.

    ``shift``: how much higher the positions of long rows are, whose table lies behind the other.
    """
    starts = [row.past + shift * row.long for row in rows]
    spans = [np.arange(len(row.tokens)) + start for row, start in zip(rows, starts, strict=True)]
    return np.concatenate(spans)[None].astype(np.int64)
