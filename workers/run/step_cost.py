"""How much work the rows of a step are, and which steps are alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from cupola.workers.run.packing import Row

# All numbers are in tokens at the beginning of a prompt, measured with the default model:
_WEIGHTS = 12  # to read the weights once
_PAST_PER_TOKEN = 1000  # positions of the past that make a token twice as expensive
_READ_PER_TOKEN = 250  # positions whose keys and values take as long to read as one token takes
_MANY = 64  # tokens of a run, from which on the same way is the fastest
_FEW = 8  # tokens of a run, up to which each number of them is a kind of its own
_LAST = 16 + _MANY.bit_length()  # the size of the kind with the most tokens

Kind = tuple[int, bool]
ONE_TOKEN: Kind = (1, False)  # the kind of a step in which one sequence generates


def row_cost(row: Row) -> float:
    """About how much work a row is, in tokens at the beginning of a prompt."""
    return len(row.tokens) * (1 + row.past / _PAST_PER_TOKEN) + row.past / _READ_PER_TOKEN


def step_cost(rows: Sequence[Row]) -> float:
    """About how much work one run of the rows is, in the same unit."""
    return _WEIGHTS + sum(map(row_cost, rows))


def step_kind(rows: Sequence[Row]) -> Kind:
    """What the same way is likely to suit: about so many tokens, and whether prompts are read.

    There are few kinds, because each has trials of its own, some of which are slow.
    """
    tokens = sum(len(row.tokens) for row in rows)
    reads = tokens > len(rows)
    if tokens <= _FEW:
        size = tokens
    elif tokens < 32 and not reads:
        size = _FEW + tokens // 4
    else:
        size = 16 + min(tokens, _MANY).bit_length()
    return size, reads


@cache
def kinds_alike(kind: Kind) -> tuple[Kind, ...]:
    """Kinds that are likely to be as fast in each way, the likeliest first.

    Others wait for a step with a prompt in it, which may be a long one in a slow way.
    """
    size, reads = kind
    if size <= _FEW or not reads:
        return ()
    sizes = sorted(range(_FEW + 1, _LAST + 1), key=lambda other: abs(other - size))
    return tuple((other, True) for other in sizes if other != size)
