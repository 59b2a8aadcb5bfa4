"""Which tokens of which sequences go into the next run of the model. Pure.

Sequences that generate go first, a token each; what is left of the step's token budget goes to
prompts, in chunks, oldest first (Sarathi-Serve, arXiv 2403.02310). So a long prompt never stalls
the others, and short prompts that arrive together share a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Pending(Protocol):
    @property
    def pending(self) -> int:
        """Tokens that are known and not yet in the cache; at least 1."""


SequenceT = TypeVar("SequenceT", bound=Pending)


@dataclass(slots=True)
class Step(Generic[SequenceT]):
    """What one run holds of one sequence."""

    sequence: SequenceT
    count: int  # of its pending tokens
    draft: tuple[int, ...] = ()  # guesses behind them, to be verified

    @property
    def width(self) -> int:
        return self.count + len(self.draft)

    @property
    def completes(self) -> bool:
        """Whether the next token can be drawn after this run."""
        return self.count == self.sequence.pending


def plan(running: Iterable[SequenceT], budget: int) -> list[Step[SequenceT]]:
    """The next run, at most ``budget`` tokens in all.

    ``running`` is in order of arrival. A budget smaller than the number of generating sequences is
    exceeded rather than letting one of them wait.
    """
    running = list(running)
    steps = [Step(sequence, 1) for sequence in running if sequence.pending == 1]
    left = budget - len(steps)
    for sequence in running:
        if left <= 0:
            break
        if sequence.pending > 1:
            count = min(sequence.pending, left)
            steps.append(Step(sequence, count))
            left -= count
    return steps
