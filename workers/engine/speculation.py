"""Which sequences guess, and how many tokens."""

from __future__ import annotations

from math import ceil

from cupola.workers.engine.drafting import Guess, pays, worth
from cupola.workers.engine.plan import Step
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import Seating
from cupola.workers.run.session import Session

# Verifying guesses is nearly free while the run is bound by reading the weights, and costs like any
# other token when it is not: so few sequences guess, and few tokens together.
DRAFTING_SEQUENCES = 8
DRAFTED_TOKENS = 16


class Speculation:
    """Adds guesses to the sequences that generate, while there are few of them."""

    def __init__(self, session: Session, seating: Seating, context: int) -> None:
        """``context``: tokens that a sequence may have."""
        self._session = session
        self._seating = seating
        self._context = context

    def draft(self, steps: list[Step[Sequence]], budget: int) -> None:
        """``budget``: tokens that the run may hold."""
        if len(steps) > DRAFTING_SEQUENCES or not self._session.verifies:
            return
        left = min(DRAFTED_TOKENS, budget - sum(step.width for step in steps))
        likely = worth(len(steps))
        guesses: list[tuple[Step[Sequence], Guess]] = []
        able = [step for step in steps if step.completes and not step.sequence.reading]
        for behind, step in zip(range(len(able), 0, -1), able, strict=True):
            room = self._reach(step.sequence) - len(step.sequence.tokens)
            guess = step.sequence.guess(min(ceil(left / behind), room), likely)
            if guess.tokens:
                guesses.append((step, guess))
                left -= len(guess.tokens)
        if not pays(len(steps), [guess for _, guess in guesses], self._copied(steps)):
            return
        for step, guess in guesses:
            step.draft = guess.tokens
            if not self._seating.make_room(steps):
                step.draft = ()

    def _copied(self, steps: list[Step[Sequence]]) -> float:
        """What is copied for guesses, in times of the weights: nothing if prompts need it, too."""
        if any(step.count > 1 for step in steps):
            return 0.0
        positions = sum(step.sequence.slot.length for step in steps if step.sequence.slot)
        return positions / self._session.copied

    def _reach(self, sequence: Sequence) -> int:
        """How many tokens the sequence may have, as it is read now."""
        short = self._session.short_context
        return short if short and not sequence.long else self._context
