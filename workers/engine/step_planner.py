"""Which tokens the next run has, so that a step takes no longer than it may."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from functools import partial

from cupola.workers.engine.draft_planner import DraftPlanner
from cupola.workers.engine.rows import is_exact
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.sequences import Sequences
from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.planning.plan import Step, plan
from cupola.workers.planning.step_budget import StepBudget
from cupola.workers.run.session import Session


class StepPlanner:
    """Plans steps by a budget of tokens, which learns from the time that steps take."""

    def __init__(
        self,
        session: Session,
        slots: SlotAllocator,
        sequences: Sequences,
        drafts: DraftPlanner,
        budget: StepBudget,
        served: Callable[[str], float],
    ) -> None:
        """``served``: how many tokens a client has had."""
        self._session = session
        self._slots = slots
        self._sequences = sequences
        self._running = sequences.running
        self._drafts = drafts
        self._budget = budget
        self._served = served

    def plan(self, spent: float) -> list[Step[Sequence]]:
        """The tokens of the next run: known ones, and draft tokens behind them.

        Sequences for which there is no memory wait again. ``spent``: seconds since the end of the
        last step.
        """
        steps, budget = self._known(spent)
        while not self._slots.make_room(steps):  # the youngest sequence waits for memory
            youngest = self._running[-1]
            self._sequences.preempt(youngest)
            steps = [step for step in steps if step.sequence is not youngest]
        if steps:
            self._drafts.add_drafts(steps, budget)
        # Rows of one query may get a run of their own, before the others. See ``step_split``.
        steps.sort(key=lambda step: step.width > 1 or is_exact(step))
        return steps

    def _known(self, spent: float) -> tuple[list[Step[Sequence]], int]:
        """The known tokens of the next run, and how many tokens it may have in all."""
        running = self._running
        prompts = [each for each in running if each.pending and not each.generates]
        of_client = Counter(each.client for each in running)
        newcomers = (
            prompt.pending
            for prompt in prompts
            if of_client[prompt.client] == 1 and not prompt.patient
        )
        newcomer = min(newcomers, default=0)
        budget = self._budget.tokens(generating(running), prompts, newcomer, spent)
        return plan(running, budget, self._session.parallel_prompts, self._served), budget

    def room(self) -> int:
        """For how many tokens decisions may take slots: beside answers, for those of one run."""
        count = generating(self._running)
        return self._budget.tokens(count) if count else sys.maxsize

    def learner(self, steps: Several[Step[Sequence]]) -> Callable[[float], None]:
        """What learns how many seconds these steps take. To be made before they are run."""
        reading = [step.sequence for step in steps if not step.sequence.generates]
        return partial(
            self._budget.observe,
            generating(self._running),
            prompt_tokens(steps),
            short=any(self._budget.is_short(prompt) for prompt in reading),
            patient=bool(reading) and all(prompt.patient for prompt in reading),
            drafts=any(step.draft for step in steps),
        )


def generating(running: Iterable[Sequence]) -> int:
    """How many sequences get a token that somebody waits for."""
    return sum(sequence.generates for sequence in running)


def prompt_tokens(steps: Iterable[Step[Sequence]]) -> int:
    """Draft tokens cost as much as those of prompts."""
    return sum(step.count - step.sequence.generates for step in steps)
