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


def plan(running: Iterable[SequenceT], budget: int, abreast: int = 1) -> list[Step[SequenceT]]:
    """The next run, at most ``budget`` tokens in all.

    ``running`` is in order of arrival. A budget smaller than the number of generating sequences is
    exceeded rather than letting one of them wait. ``abreast``: of how many prompts a run reads the
    same share, if it cannot read more; 1: one prompt after the other.
    """
    running = list(running)
    steps = [Step(sequence, 1) for sequence in running if sequence.pending == 1]
    left = budget - len(steps)
    prompts = [sequence for sequence in running if sequence.pending > 1]
    first = sorted(prompts[:abreast], key=lambda sequence: sequence.pending)
    for number, sequence in enumerate((*first, *prompts[abreast:])):
        share = max(1, len(first) - number)
        count = min(sequence.pending, left // share)
        if count > 0:
            steps.append(Step(sequence, count))
            left -= count
    return steps
