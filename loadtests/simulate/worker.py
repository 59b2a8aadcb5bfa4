"""A simulated worker: the engine's own plan and step budget, with a cost model for the runs. Pure.

Steps in which all sequences only generate are alike but for their growing contexts. Many of them
are one event here, whose end has a closed form. As soon as a prompt is there, each step is planned
by ``workers/planning/plan.py`` with a budget of ``workers/planning/step_budget.py``.

Left out: memory for keys and values, grammars, draft tokens but for their mean gain.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

from cupola.loadtests.simulate.cost_model import CostModel
from cupola.workers.planning.plan import plan
from cupola.workers.planning.step_budget import StepBudget

_LESSONS = 5


@dataclass(frozen=True, slots=True)
class EngineSize:
    """The settings of a worker that its decisions depend on."""

    slots: int = 16
    step_tokens: int = 256
    itl_seconds: float = 0.1
    parallel_prompts: int = 1


@dataclass(slots=True, eq=False)
class SimulatedSequence:
    """``pending``: tokens of the prompt that are not computed yet; 1 once it generates.

    ``cached``: tokens of the prompt that need not be computed.
    """

    request_id: str
    prompt: int
    tokens: int
    cached: int = 0
    client: str = ""
    rank: int = 0
    pending: int = field(init=False)

    def __post_init__(self) -> None:
        self.pending = max(1, self.prompt - self.cached)


@dataclass(slots=True)
class StepEnd:
    """What became known at the end of an event: first texts, and answers that are complete."""

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


class SimulatedWorker:
    """``busy_until`` is when the event that is under way ends; None: it does nothing."""

    def __init__(self, size: EngineSize, costs: CostModel, most_steps: int = 10**9) -> None:
        """``most_steps``: so many are one event at most."""
        self._size, self._costs, self._most_steps = size, costs, most_steps
        self._budget = StepBudget(size.itl_seconds, size.step_tokens)
        self._prompts: list[SimulatedSequence] = []  # in the order of arrival
        # Sequences that generate, by the number of the step after which they are complete.
        self._ends: list[tuple[int, str, SimulatedSequence]] = []
        self._context = 0.0  # tokens of all sequences that generate
        self._done = 0  # steps so far in which sequences generated
        self._began = 0.0  # of the event that is under way
        self._count = 0  # steps in it, if it has no prompts; else 0
        self._read: list[tuple[SimulatedSequence, int]] = []  # prompts' tokens in it
        self.busy_until: float | None = None

    def add(self, sequence: SimulatedSequence, now: float) -> None:
        """A request joins at the next end of a step."""
        self._prompts.append(sequence)
        if self.busy_until is None:
            self._begin(now)
        elif self._count > 1:
            self._cut(now)

    def end(self) -> StepEnd:
        """The event that is under way ends, at ``busy_until``; the next one begins."""
        now, rows, told = self.busy_until, len(self._ends), StepEnd()
        assert now is not None
        steps = self._count or (1 if rows else 0)
        self._done += steps
        self._context += rows * steps * self._costs.tokens_a_step
        if self._count:
            # Steps that are alike teach the budget little after the first ones.
            for _ in range(min(self._count, _LESSONS)):
                self._budget.observe(rows, 0, (now - self._began) / self._count)
        else:
            tokens = sum(count for _, count in self._read)
            self._budget.observe(rows, tokens, now - self._began)
        while self._ends and self._ends[0][0] <= self._done:
            _, request_id, sequence = heapq.heappop(self._ends)
            self._context -= sequence.prompt + sequence.tokens
            told.finished.append(request_id)
        self._advance_prompts(told)
        self._context = max(0.0, self._context) if self._ends else 0.0
        self.busy_until = None
        if self._prompts or self._ends:
            self._begin(now)
        return told

    def _advance_prompts(self, told: StepEnd) -> None:
        for sequence, count in self._read:
            if count < sequence.pending:
                sequence.pending -= count
                continue
            sequence.pending = 1
            self._prompts.remove(sequence)
            told.started.append(sequence.request_id)
            left = sequence.tokens - 1
            if left <= 0:
                told.finished.append(sequence.request_id)
                continue
            last = self._done + math.ceil(left / self._costs.tokens_a_step)
            heapq.heappush(self._ends, (last, sequence.request_id, sequence))
            self._context += sequence.prompt + 1
        self._read = []

    def _begin(self, now: float) -> None:
        self._began = now
        rows = len(self._ends)
        if not self._prompts:
            self._count = min(self._most_steps, self._ends[0][0] - self._done)
            self.busy_until = now + self._decode_seconds(self._count)
            return
        self._count = 0
        # Those that generate go first, with a token each: what is left is planned for prompts.
        budget = self._budget.tokens(rows) - rows
        steps = plan(self._prompts, budget, self._size.parallel_prompts)
        self._read = [(step.sequence, step.count) for step in steps]
        tokens = sum(step.count for step in steps)
        deep = sum(_depth(step.sequence, step.count) for step in steps)
        self.busy_until = now + self._costs.step(rows, self._context, tokens, deep)

    def _cut(self, now: float) -> None:
        """End the steps that are alike after the one that runs now."""
        low, high = 1, self._count
        while low < high:  # the first step that ends at ``now`` or later
            middle = (low + high) // 2
            if self._began + self._decode_seconds(middle) < now:
                low = middle + 1
            else:
                high = middle
        self._count = low
        self.busy_until = self._began + self._decode_seconds(low)

    def _decode_seconds(self, steps: int) -> float:
        """Of so many steps from ``_began`` on, in which every context grows."""
        rows, costs = len(self._ends), self._costs
        grown = costs.context * rows * costs.tokens_a_step * steps * (steps - 1) / 2
        return steps * costs.decode(rows, self._context) + grown


def _depth(sequence: SimulatedSequence, count: int) -> float:
    """The sum, over the next ``count`` tokens of a prompt, of the tokens before each."""
    start = sequence.prompt - sequence.pending
    return count * start + count * (count - 1) / 2
