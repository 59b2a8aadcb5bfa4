"""Draft tokens of one sequence, and when it pays to verify them. Pure.

To verify a draft token costs a part of a run, and saves a run if the token is right.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

# What one more token costs, as a share of a run that makes one token of one sequence: measured 0.05
# to 0.2.
TOKEN_COST = 0.13
_MARGIN = 1.2  # a draft must bring so much more than it costs, because the rates are estimates


class Draft(NamedTuple):
    """Tokens that may follow."""

    tokens: tuple[int, ...] = ()
    expected: float = 0.0  # how many of them are expected to be right


def min_probability(sequences: int) -> float:
    """How probable a draft token must be when so many sequences generate.

    With it, the run must make tokens faster than without it.
    """
    return _MARGIN * TOKEN_COST * sequences / _run_cost(sequences)


def worth_verifying(sequences: int, drafts: Collection[Draft], copied: float) -> bool:
    """Whether a run of so many sequences should verify ``drafts``.

    ``copied``: what the run must copy for that, in multiples of what it reads anyway.
    """
    tokens = sum(len(draft.tokens) for draft in drafts)
    expected = sum(draft.expected for draft in drafts)
    gain = expected * _run_cost(sequences)
    return gain >= _MARGIN * (TOKEN_COST * tokens + copied) * sequences


def _run_cost(tokens: int) -> float:
    """How long a run of so many tokens takes, in runs of a single token."""
    return 1 + TOKEN_COST * (tokens - 1)
