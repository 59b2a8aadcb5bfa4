"""Packs the rows of a run into the graph's inputs, whose shapes ``serving_graph`` gives. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_DRAFT_TOKENS = 12  # of one row, behind the token that is certain


@dataclass(frozen=True, slots=True)
class Row:
    """What one run reads for one slot: ``tokens``, behind ``past`` positions in the cache."""

    slot: int
    past: int
    tokens: Sequence[int]
    logits: int  # how many of the last tokens need logits
    long: bool = False  # read with the second rotary table, where the model has two
    reproducible: bool = False  # its logits must not depend on how or beside what it is run


def span(rows: Sequence[Row]) -> range:
    """The slots that a run of these rows covers. A slot without a row is idle in it."""
    return range(min(row.slot for row in rows), max(row.slot for row in rows) + 1)


def pack(rows: Sequence[Row], slots: range) -> dict[str, NDArray[np.generic]]:
    """The inputs of one run over ``slots``, which ``fill`` completes.

    Tokens and logits are packed in the order of ``rows``.
    """
    counts = np.array([len(row.tokens) for row in rows], np.int64)
    at = np.array([row.slot for row in rows], np.int64) - slots.start
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    width = int(counts.max())

    query = np.zeros(len(slots), np.int32)
    query[at] = counts

    # Every place of the grid names some packed token. Places behind a row's end are never used.
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
    """Write what differs between two runs of rows in the same slots with as many tokens.

    ``shift`` is added to the positions of ``long`` rows, whose table lies behind the other one.
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
