"""Which tokens of which sequences go into the next run of the model. Pure.

Sequences that generate go first, a token each; what is left of the step's token budget goes to
prompts, in chunks, oldest first (Sarathi-Serve, arXiv 2403.02310). So a long prompt never stalls
the others, and short prompts that arrive together share a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Pending(Protocol):
    @property
    def pending(self) -> int:
        """Tokens that are known and not yet in the cache; at least 1."""


SequenceT = TypeVar("SequenceT", bound=Pending)


def plan(running: Iterable[SequenceT], budget: int) -> list[tuple[SequenceT, int]]:
    """The next run: sequences and how many of their pending tokens, at most ``budget`` in all.

    ``running`` is in order of arrival. A budget smaller than the number of generating sequences is
    exceeded rather than letting one of them wait.
    """
    running = list(running)
    steps = [(sequence, 1) for sequence in running if sequence.pending == 1]
    left = budget - len(steps)
    for sequence in running:
        if left <= 0:
            break
        if sequence.pending > 1:
            count = min(sequence.pending, left)
            steps.append((sequence, count))
            left -= count
    return steps
