"""A simulated worker: the engine's own plan and step budget, with a cost model for the runs. Pure.

Steps in which all sequences only generate are alike but for their growing contexts. Many of them
are one event here, whose end has a closed form. As soon as a prompt is there, each step is planned
by ``workers/planning/plan.py`` with a budget of ``workers/planning/step_budget.py``.

Left out: memory for keys and values, grammars, draft tokens but for their mean gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush

from cupola.loadtests.simulate.cost_model import CostModel
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.workers.planning.plan import plan
from cupola.workers.planning.step_budget import StepBudget


@dataclass(frozen=True, slots=True)
class EngineSize:
    """The settings of a worker that its decisions depend on."""

    slots: int = 16
    step_tokens: int = 256
    itl_seconds: float = 0.1
    parallel_prompts: int = 1


class SimulatedWorker:
    """``busy_until`` is when the event that is under way ends; None: it does nothing."""

    __slots__ = (
        "_began", "_budget", "_context", "_costs", "_count", "_done", "_ends", "_grows",
        "_most_steps", "_prompts", "_read", "_size", "_step", "busy_until", "listed", "name",
        "number", "running", "started",
    )  # fmt: skip

    def __init__(
        self,
        size: EngineSize,
        costs: CostModel,
        most_steps: int = 10**9,
        name: str = "",
        number: int = 0,
    ) -> None:
        """``most_steps``: so many are one event at most."""
        self.name, self.number = name, number
        self.running = 0  # requests
        self.listed = 0  # for ``FreeSlots``
        self._size, self._costs, self._most_steps = size, costs, most_steps
        self._budget = StepBudget(size.itl_seconds, size.step_tokens)
        self._prompts: list[SimulatedRequest] = []  # in the order of arrival
        # Sequences that generate, by the number of the step after which they are complete.
        self._ends: list[tuple[int, int, SimulatedRequest]] = []
        self._context = 0.0  # tokens of all sequences that generate
        self._done = 0  # steps so far in which sequences generated
        self._began = 0.0  # of the event that is under way
        self._count = 0  # steps in it, if it has no prompts; else 0
        self._step, self._grows = 0.0, 0.0  # seconds of the first of them; of each, more
        self._read: list[tuple[SimulatedRequest, int]] = []  # prompts' tokens in it
        self.busy_until: float | None = None
        self.started: list[SimulatedRequest] = []  # their first text came at the last end

    def add(self, request: SimulatedRequest, now: float) -> None:
        """A request joins at the next end of a step."""
        self.running += 1
        request.pending = max(1, request.prompt - request.cached)  # it may have run elsewhere
        self._prompts.append(request)
        if self.busy_until is None:
            self._begin(now)
        elif self._began > now:  # it joins the step that is to begin
            self._begin(self._began)
        elif self._count > 1:
            self._cut(now)

    def end(self) -> list[SimulatedRequest]:
        """The event that is under way ends, at ``busy_until``; the next one begins.

        Returns the requests that are complete.
        """
        now, ends, steps = self.busy_until, self._ends, self._count
        assert now is not None
        finished: list[SimulatedRequest] = []
        rows = len(ends)
        if steps:
            self._budget.observe(rows, 0, (now - self._began) / steps, steps)
        else:
            steps = 1 if rows else 0
            read = 0
            for _, count in self._read:
                read += count
            self._budget.observe(rows, read, now - self._began)
        if rows:
            self._generated(rows, steps)
            while ends and ends[0][0] <= self._done:
                request = heappop(ends)[2]
                self._context -= request.prompt + request.tokens
                finished.append(request)
        if self._read:
            self._advance_prompts(now, finished)
        if finished:
            self.running -= len(finished)
            if not ends:
                self._context = 0.0
        self.busy_until = None
        if self._prompts or ends:
            self._begin(now)
        return finished

    def _generated(self, rows: int, steps: int) -> None:
        self._done += steps
        self._context += rows * steps * self._costs.tokens_a_step

    def _advance_prompts(self, now: float, finished: list[SimulatedRequest]) -> None:
        self.started = []
        for request, count in self._read:
            if count < request.pending:
                request.pending -= count
                continue
            request.pending = 1
            request.first = now
            self._prompts.remove(request)
            self.started.append(request)
            left = request.tokens - 1
            if left <= 0:
                finished.append(request)
                continue
            last = self._done + math.ceil(left / self._costs.tokens_a_step)
            heappush(self._ends, (last, request.arrival, request))
            self._context += request.prompt + 1
        self._read = []

    def _begin(self, now: float) -> None:
        self._began = now
        ends, rows = self._ends, len(self._ends)
        if not self._prompts:
            costs, steps = self._costs, ends[0][0] - self._done
            self._step = costs.decode(rows, self._context)
            self._grows = costs.context * rows * costs.tokens_a_step
            self._count = steps = min(steps, self._most_steps)
            self.busy_until = now + steps * (self._step + self._grows * (steps - 1) / 2)
            return
        self._count = 0
        # Those that generate go first, with a token each: what is left is planned for prompts.
        budget = self._budget.tokens(rows) - rows
        tokens, deep, self._read = 0, 0.0, []
        for step in plan(self._prompts, budget, self._size.parallel_prompts):
            request, count = step.sequence, step.count
            self._read.append((request, count))
            tokens += count
            deep += count * (request.prompt - request.pending + (count - 1) / 2)
        self.busy_until = now + self._costs.step(rows, self._context, tokens, deep)

    def _cut(self, now: float) -> None:
        """End the steps that are alike after the one that runs now, and plan the one after it.

        After k of them, k x step + grows x k x (k - 1) / 2 seconds are over.
        """
        step, grows, over = self._step, self._grows, now - self._began
        if grows:
            less = step - grows / 2
            steps = math.ceil((math.sqrt(less * less + 2 * grows * over) - less) / grows)
        else:
            steps = math.ceil(over / step)
        steps = max(1, steps)
        end = self._began + steps * (step + grows * (steps - 1) / 2)
        if end < now:  # by the last bit of the root
            steps += 1
            end = self._began + steps * (step + grows * (steps - 1) / 2)
        if steps >= self._count:
            return  # at the end of which somebody is complete
        # Nobody is complete before the step with the prompt, so it is the next event.
        rows = len(self._ends)
        self._budget.observe(rows, 0, (end - self._began) / steps, steps)
        self._generated(rows, steps)
        self._begin(end)
