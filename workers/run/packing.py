"""Packs the rows of a run into its inputs; see serving_graph for their shapes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_DRAFT_TOKENS = 12  # that one row may carry to be verified, behind the token that is certain


@dataclass(frozen=True, slots=True)
class Row:
    """What one run reads for one slot: ``tokens`` behind the ``past`` positions in the cache."""

    slot: int
    past: int
    tokens: Sequence[int]
    logits: int  # of how many of the last tokens
    long: bool = False  # with the second rotary table, where the model has two
    steady: bool = False  # its logits must not differ with what else is in the run


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
    """The inputs of one run over ``slots``, to be filled in.

    Tokens are packed in the order of ``rows``, and so are the logits.
    """
    counts = np.array([len(row.tokens) for row in rows], np.int64)
    at = np.array([row.slot for row in rows], np.int64) - slots.start
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    width = int(counts.max())

    query = np.zeros(len(slots), np.int32)
    query[at] = counts

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
        "input_ids": np.empty((1, total), np.int64),
        "grid": grid,
        "ungrid": ungrid,
        "last": np.array(last or [0], np.int64),  # the head needs one
        "seqlens_k": np.zeros(len(slots), np.int32),  # an idle row claims one cached position
        "query_seqlens": query,
        "total_len": np.empty((), np.int32),
        "position_ids": np.empty((1, total), np.int64),
    }


def fill(
    inputs: dict[str, NDArray[np.generic]], rows: Sequence[Row], slots: range, shift: int
) -> None:
    """What differs between runs of rows in the same slots, with as many tokens.

    ``shift``: how much higher the positions of long rows are, whose table lies behind the other.
    """
    inputs["input_ids"][0] = [token for row in rows for token in row.tokens]
    lengths = [row.past + len(row.tokens) for row in rows]
    inputs["seqlens_k"][[row.slot - slots.start for row in rows]] = np.array(lengths) - 1
    inputs["total_len"][...] = max(*lengths, inputs["grid"].shape[1])
    if "position_ids" in inputs:
        inputs["position_ids"][0] = [
            place + shift * row.long
            for row in rows
            for place in range(row.past, row.past + len(row.tokens))
        ]
