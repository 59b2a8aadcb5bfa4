"""Packs the rows of a run into the graph's inputs, whose shapes ``serving_graph`` gives. Pure.

A row whose results must always have the same bits is never computed alone, because kernels compute
one row in another way than several. Attention works in tiles of queries, and a row's last tile may
hold one query. So its last token is on the grid twice. The first of the two is the result. The
keys and values of the second lie behind the row's end, where the next step writes over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

MAX_DRAFT_TOKENS = 12  # of one row, behind the token that is certain


class Doubling(Enum):
    """What a run computes twice for the sake of rows that must be reproducible."""

    NOTHING = auto()
    QUERIES = auto()  # the last token of each such row, in attention
    TOKENS = auto()  # and the last token of the run, for products that compute one row otherwise


@dataclass(frozen=True, slots=True)
class Row:
    """What one run reads for one slot: ``tokens``, behind ``past`` positions in the cache."""

    slot: int
    past: int
    tokens: Sequence[int]
    logits: int  # how many of the last tokens need logits
    long: bool = False  # read with the second rotary table, where the model has two
    # Logits, keys and values must not depend on how or beside what it is run.
    reproducible: bool = False


def span(rows: Sequence[Row]) -> range:
    """The slots that a run of these rows covers. A slot without a row is idle in it."""
    return range(min(row.slot for row in rows), max(row.slot for row in rows) + 1)


def queries(row: Row, doubling: Doubling) -> int:
    """How many places of the grid the row takes."""
    return len(row.tokens) + (row.reproducible and doubling is not Doubling.NOTHING)


def pack(
    rows: Sequence[Row], slots: range, doubling: Doubling = Doubling.NOTHING
) -> dict[str, NDArray[np.generic]]:
    """The inputs of one run over ``slots``, which ``fill`` completes.

    Tokens and logits are packed in the order of ``rows``. There may be one more row of logits
    behind the wanted ones.
    """
    counts = np.array([len(row.tokens) for row in rows], np.int64)
    at = np.array([row.slot for row in rows], np.int64) - slots.start
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    taken = np.array([queries(row, doubling) for row in rows], np.int32)

    query = np.zeros(len(slots), np.int32)
    query[at] = taken

    # Every place of the grid names some packed token. Places behind a row's end name its last one.
    columns = np.arange(taken.max())
    grid = np.zeros((len(slots), len(columns), 2), np.int64)
    grid[at, :, 1] = starts[:, None] + np.minimum(columns, counts[:, None] - 1)
    ungrid = np.empty((1, total, 2), np.int64)
    ungrid[0, :, 0] = np.repeat(at, counts)
    ungrid[0, :, 1] = np.arange(total) - np.repeat(starts, counts)

    ends = (starts + counts).tolist()
    last = [
        end - back for row, end in zip(rows, ends, strict=True) for back in range(row.logits, 0, -1)
    ]
    if _repeats(rows, doubling):
        ungrid = np.concatenate([ungrid, ungrid[:, -1:]], axis=1)
        last += last[-1:]
    return {
        "input_ids": np.empty((1, ungrid.shape[1]), np.int64),
        "grid": grid,
        "ungrid": ungrid,
        "last": np.array(last or [0], np.int64),  # the head needs one
        "seqlens_k": np.zeros(len(slots), np.int32),  # an idle row claims one cached position
        "query_seqlens": query,
        "total_len": np.empty((), np.int32),
        "position_ids": np.empty((1, ungrid.shape[1]), np.int64),
    }


def fill(
    inputs: dict[str, NDArray[np.generic]],
    rows: Sequence[Row],
    slots: range,
    shift: int,
    doubling: Doubling = Doubling.NOTHING,
) -> None:
    """Write what differs between two runs of rows in the same slots with as many tokens.

    ``shift`` is added to the positions of ``long`` rows, whose table lies behind the other one.
    """
    repeated = int(_repeats(rows, doubling))
    tokens = [token for row in rows for token in row.tokens]
    inputs["input_ids"][0] = tokens + tokens[-1:] * repeated
    lengths = [row.past + queries(row, doubling) for row in rows]
    inputs["seqlens_k"][[row.slot - slots.start for row in rows]] = np.array(lengths) - 1
    inputs["total_len"][...] = max(*lengths, inputs["grid"].shape[1])
    if "position_ids" in inputs:
        positions = [
            place + shift * row.long
            for row in rows
            for place in range(row.past, row.past + len(row.tokens))
        ]
        inputs["position_ids"][0] = positions + positions[-1:] * repeated


def _repeats(rows: Sequence[Row], doubling: Doubling) -> bool:
    """Whether the last packed token is there once more."""
    return doubling is Doubling.TOKENS and any(row.reproducible for row in rows)
