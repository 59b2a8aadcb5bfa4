"""Which row of a run each step of a sequence is."""

from __future__ import annotations

from cupola.workers.engine.sequence import Sequence
from cupola.workers.planning.plan import Step
from cupola.workers.run.packing import Row


def row_of(step: Step[Sequence]) -> Row:
    """The row of a sequence that has a slot."""
    slot = step.sequence.slot
    assert slot is not None
    tokens = step.sequence.tokens[slot.length : slot.length + step.count]
    return Row(
        slot.index,
        slot.length,
        [*tokens, *step.draft],
        wanted_logits(step),
        long=step.sequence.long,
        reproducible=is_exact(step),
    )


def wanted_logits(step: Step[Sequence]) -> int:
    """How many of the step's last tokens need logits."""
    return step.sequence.wanted_logits(step.count, len(step.draft))


def is_exact(step: Step[Sequence]) -> bool:
    """Whether the step's keys and values must have the bits that they always have.

    Those of prompts have, whoever asks, because other requests will use them. In a chunk of several
    tokens that costs nothing.
    """
    return step.sequence.reproducible or step.count > 1
