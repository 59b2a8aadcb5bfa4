"""Which tokens of which sequences go into the next run of the model. Pure.

Sequences that generate go first, with a token each. The rest of the step's token budget goes to
prompts, in chunks, the oldest first (Sarathi-Serve, arXiv 2403.02310). So a long prompt never
stalls the others, and short prompts that arrive together share a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Pending(Protocol):
    """A sequence, as far as the plan is concerned."""

    @property
    def pending(self) -> int:
        """How many tokens are known and not yet in the cache; at least 1."""


SequenceT = TypeVar("SequenceT", bound=Pending)


@dataclass(slots=True)
class Step(Generic[SequenceT]):
    """What one run holds of one sequence."""

    sequence: SequenceT
    count: int  # of its pending tokens
    draft: tuple[int, ...] = ()  # tokens behind them that the run verifies

    @property
    def width(self) -> int:
        """How many tokens the run holds of this sequence."""
        return self.count + len(self.draft)

    @property
    def completes(self) -> bool:
        """Whether the run gives the logits of the next token."""
        return self.count == self.sequence.pending


def plan(
    running: Iterable[SequenceT], budget: int, parallel_prompts: int = 1
) -> list[Step[SequenceT]]:
    """The next run, of at most ``budget`` tokens.

    ``running`` is in order of arrival. If more sequences generate than the budget has tokens, the
    budget is exceeded and none of them waits. So many ``parallel_prompts`` get equal shares of a
    budget that is too small for them; 1: one prompt is read after the other.
    """
    running = list(running)
    steps = [Step(sequence, 1) for sequence in running if sequence.pending == 1]
    left = budget - len(steps)
    prompts = [sequence for sequence in running if sequence.pending > 1]
    first = sorted(prompts[:parallel_prompts], key=lambda sequence: sequence.pending)
    for number, sequence in enumerate((*first, *prompts[parallel_prompts:])):
        share = max(1, len(first) - number)
        count = min(sequence.pending, left // share)
        if count > 0:
            steps.append(Step(sequence, count))
            left -= count
    return steps
