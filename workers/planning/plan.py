"""Which tokens of which sequences go into the next run of the model. Pure.

Sequences that generate go first, with a token each. The rest of the step's token budget goes to
prompts, in chunks (Sarathi-Serve, arXiv 2403.02310), which ``prompt_shares`` divides. So a long
prompt never stalls the others, and short prompts that arrive together share a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cupola.workers.planning.prompt_shares import Reading, shares


class Planned(Reading, Protocol):
    """A sequence that may have a part in a step."""

    @property
    def generates(self) -> bool:
        """Whether the next run gives it a token that somebody waits for."""


SequenceT = TypeVar("SequenceT", bound=Planned)


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
    running: Iterable[SequenceT],
    budget: int,
    parallel_prompts: int = 1,
    served: Callable[[str], float] = lambda client: 0.0,
) -> list[Step[SequenceT]]:
    """The next run, of at most ``budget`` tokens.

    ``running`` is in order of arrival. If more sequences generate than the budget has tokens, the
    budget is exceeded and none of them waits. So many ``parallel_prompts`` of a client get equal
    shares of a budget that is too small for them; 1: one is read after the other. ``served``: what
    a client has been served until now.
    """
    steps: list[Step[SequenceT]] = []
    prompts: list[SequenceT] = []
    for sequence in running:
        if sequence.generates:
            steps.append(Step(sequence, 1))
        elif sequence.pending > 0:
            prompts.append(sequence)
    parts = shares(prompts, budget - len(steps), parallel_prompts, served)
    return steps + [Step(sequence, count) for sequence, count in parts]
