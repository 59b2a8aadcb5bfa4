"""Splits the rows of a step into runs: some after others, or two halves side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cupola.workers.run.packing import Row
from cupola.workers.run.step_cost import row_cost, step_cost

MIN_HALVED_TOKENS = 8  # in a step of fewer tokens, reading the weights takes most of the time
# Of the work that one half may have. How much longer it then takes is known: see ``halved_cost``.
_MAX_SHARE = 0.85

Half = list[int]  # indices of rows


def runs(rows: Sequence[Row], copy_limit: int) -> list[Sequence[Row]]:
    """All rows in one run, or the rows of one query in a run of their own before the others.

    Beside rows of several queries, the CPU's attention copies the keys and values of all rows
    before it reads them. If the rows of one query have more than ``copy_limit`` positions together,
    it is cheaper to read the weights twice. Reproducible rows never have one query.
    """
    wide = (n for n, row in enumerate(rows) if len(row.tokens) > 1 or row.reproducible)
    first = next(wide, len(rows))
    if first < len(rows) and sum(row.past for row in rows[:first]) > copy_limit:
        return [rows[:first], rows[first:]]
    return [rows]


def halved_cost(rows: Sequence[Row], both: tuple[Half, Half]) -> float:
    """How much work a step is whose halves are both as large as the larger one of these two."""
    larger = max(sum(row_cost(rows[n]) for n in half) for half in both)
    return step_cost(()) + 2 * larger


def halves(rows: Sequence[Row]) -> tuple[Half, Half] | None:
    """Two halves of about the same cost; in each, the rows of one token come first.

    None if the step is too small, or if one row is too large a part of it.
    """
    if sum(len(row.tokens) for row in rows) < MIN_HALVED_TOKENS:
        return None
    costs = [row_cost(row) for row in rows]
    total = sum(costs)
    generating = [n for n, row in enumerate(rows) if len(row.tokens) == 1]
    prompts = [n for n, row in enumerate(rows) if len(row.tokens) > 1]
    halves: tuple[Half, Half] = [], []
    loads = [0.0, 0.0]
    for n in sorted(prompts, key=costs.__getitem__, reverse=True):
        lighter = loads.index(min(loads))
        halves[lighter].append(n)
        loads[lighter] += costs[n]
    ones: tuple[Half, Half] = [], []
    for n in generating:  # the first of them in the first half, so that logits lie in order
        which = 1 if ones[1] or loads[0] + costs[n] / 2 > total / 2 else 0
        ones[which].append(n)
        loads[which] += costs[n]
    if max(loads) > _MAX_SHARE * total:
        return None
    first, second = (one + sorted(half) for one, half in zip(ones, halves, strict=True))
    return first, second
