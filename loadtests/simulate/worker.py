"""A simulated worker: the engine's own plan and step budget, with a cost model for the runs. Pure.

Steps in which all sequences only generate are alike but for their growing contexts and the moment's
luck (``spread.py``). Many of them are one event here, whose end is known from sums. As soon as a
prompt is there, each step is planned: ``workers/planning/step_budget.py`` says how many tokens it
holds, ``prompt_shares.py`` of which prompts.

A request comes in while the steps of others go on. It may take processor time from the one that
runs, which is longer then.

Left out: memory for keys and values, grammars, draft tokens but for their mean gain and cost.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from heapq import heappop, heappush

from cupola.loadtests.simulate.cost_model import CostModel
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.loadtests.simulate.spread import DRAWN, MOST_STEPS, STEADY, DrawnRatios
from cupola.workers.planning.prompt_shares import shares
from cupola.workers.planning.step_budget import StepBudget

# The client, the gateway and the worker have a request in turn. It comes to the worker together
# with the one before it if that was still at the first of them. With an intake of 7.4 ms, 20 of 33
# pairs that found the worker idle less than 3 ms apart were read in one step, and one of 28 that
# were 4 to 12 ms apart.
_TOGETHER = 1 / 3  # of the intake


@dataclass(frozen=True, slots=True)
class EngineSize:
    """The settings of a worker that its decisions depend on."""

    slots: int = 16
    step_tokens: int = 256
    itl_seconds: float = 0.1
    parallel_prompts: int = 1


def _alike(client: str) -> float:
    """All clients have been served as much."""
    return 0.0


class SimulatedWorker:
    """``busy_until`` is when the event that is under way ends; None: it does nothing."""

    __slots__ = (
        "_began", "_budget", "_context", "_costs", "_count", "_done", "_ends", "_grows",
        "_growth", "_longer", "_moments", "_most_steps", "_place", "_prompts", "_ratio", "_ratios",
        "_read", "_ready", "_requests", "_size", "_step", "_sums", "_together_until", "_waits",
        "busy_until", "listed", "name", "number", "running", "started",
    )  # fmt: skip

    def __init__(
        self,
        size: EngineSize,
        costs: CostModel,
        most_steps: int = MOST_STEPS,
        name: str = "",
        number: int = 0,
        drawn: DrawnRatios = STEADY,
        place: float = 0.0,
    ) -> None:
        """``most_steps``: so many are one event at most. ``place``: a share, where it begins in
        ``drawn``."""
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
        self._longer = 0.0  # seconds of it, for requests that came in meanwhile
        self._ready = 0.0  # when the last request that came is there
        self._together_until = -1.0  # who comes until then is read in the step that is to begin
        self._count = 0  # steps in it, if it has no prompts; else 0
        self._growth = costs.context * costs.drafts.gain
        self._step, self._grows = 0.0, 0.0  # seconds of the first of them; of each, more
        self._ratios, self._waits = drawn.steps, drawn.waits
        self._sums, self._moments = drawn.sums, drawn.moments
        self._place = self._requests = int(place * DRAWN)  # in what is drawn
        self._ratio = 1.0  # ratio of the event, if it has prompts
        self._read: list[tuple[SimulatedRequest, int]] = []  # prompts' tokens in it
        self.busy_until: float | None = None
        self.started: list[SimulatedRequest] = []  # their first text came at the last end

    def add(self, request: SimulatedRequest, now: float) -> None:
        """A request joins at the first end of a step after it has come in."""
        self.running += 1
        request.to_read = request.prompt - request.cached
        request.pending = max(1, request.to_read)  # it may have run elsewhere
        self._prompts.append(request)
        before, ratio = self._ready, self._waits[self._requests]
        self._requests = (self._requests + 1) % DRAWN
        self._ready = ready = (before if before > now else now) + ratio * self._costs.intake
        request.ready = ready
        if self.busy_until is None:
            self._begin(ready, ratio)
        elif now <= self._together_until:
            self._begin(self._began, self._ratio)
        else:
            self._comes_in_beside(now)
            return
        self._together_until = now + _TOGETHER * ratio * self._costs.intake

    def end(self) -> list[SimulatedRequest]:
        """The event that is under way ends, at ``busy_until``; the next one begins.

        Returns the requests that are complete.
        """
        now, ends, steps = self.busy_until, self._ends, self._count
        assert now is not None
        finished: list[SimulatedRequest] = []
        if steps:
            self._end_steps(len(ends), steps, now)
        else:
            self._place = (self._place + 1) % DRAWN
            read, short = 0, False
            for request, count in self._read:
                read += count
                short = short or self._budget.is_short(request)
            self._budget.observe(len(ends), read, now - self._began, short=short)
            if ends:
                self._done += 1
                self._context += len(ends) * self._costs.drafts.gain
        done = self._done
        while ends and ends[0][0] <= done:
            request = heappop(ends)[2]
            self._context -= request.prompt + request.tokens
            finished.append(request)
        if self._read:
            self._advance_prompts(now, finished)
        if finished:
            self.running -= len(finished)
            if not ends:
                self._context = 0.0
        if ends or self._prompts:
            self._begin(now)
        else:
            self.busy_until = None
        return finished

    def _end_steps(self, rows: int, steps: int, now: float) -> None:
        """So many steps without prompts are over."""
        seconds = first = now - self._began
        if steps > 1:
            first = self._ratios[self._place] * self._step
        self._place = (self._place + steps) % DRAWN
        self._budget.observe(rows, 0, first)  # by itself, so that the spread is learnt
        if steps > 1:
            self._budget.observe(rows, 0, (seconds - first) / (steps - 1), steps - 1)
        self._done += steps
        self._context += rows * steps * self._costs.drafts.gain

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
            last = self._done + math.ceil(left / self._costs.drafts.gain)
            heappush(self._ends, (last, request.arrival, request))
            self._context += request.prompt + 1
        self._read = []

    def _begin(self, now: float, ratio: float = 0.0) -> None:
        """``ratio``: the ratio of a step with prompts, if it is not the next one of steps."""
        ends, costs, prompts = self._ends, self._costs, self._prompts
        rows = len(ends)
        if prompts and self._ready > now:
            if rows:  # the others do not wait
                prompts = [request for request in prompts if request.ready <= now]
            else:
                now = self._ready
        self._began, self._longer = now, 0.0
        if not prompts:
            steps = ends[0][0] - self._done
            if steps > self._most_steps:
                steps = self._most_steps
            self._step = costs.decode(rows, self._context)
            self._grows = self._growth * rows
            if self._prompts:
                steps = self._steps_until(self._prompts[0].ready, steps)
            self._count = steps
            self.busy_until = now + self._seconds(steps)
            return
        self._count = 0
        # Those that generate go first, with a token each: what is left is planned for prompts.
        budget = self._budget.tokens(rows, prompts) - rows
        self._read = read = shares(prompts, budget, self._size.parallel_prompts, _alike)
        tokens, deep = 0, 0.0
        for request, count in read:
            tokens += count
            deep += count * (request.prompt - request.pending + (count - 1) / 2)
        self._ratio = ratio = ratio or self._ratios[self._place]
        self.busy_until = now + ratio * costs.step(rows, self._context, tokens, deep, len(read))

    def _comes_in_beside(self, now: float) -> None:
        """The step that runs takes longer. Steps that are alike end with it."""
        assert self.busy_until is not None
        self._longer += self._costs.interference
        if self._count:
            self._count = steps = self._steps_until(now, self._count)
            self.busy_until = self._began + self._seconds(steps) + self._longer
        else:
            self.busy_until += self._costs.interference

    def _steps_until(self, ready: float, most: int) -> int:
        """How many of the steps that are alike begin before ``ready``, at least one."""
        began, place, sums = self._began, self._place, self._sums
        end = place + most
        # As if all were as long as the first: never too few, and few too many.
        steps = bisect_left(sums, sums[place] + (ready - began) / self._step, place, end) - place
        while steps > 1 and began + self._seconds(steps - 1) >= ready:
            steps -= 1
        if steps < most and began + self._seconds(steps) < ready:  # by a last bit
            steps += 1
        return max(1, steps)

    def _seconds(self, steps: int) -> float:
        """Of so many steps that are alike: the sum of ratio x (step + grows x steps before)."""
        place, sums, moments = self._place, self._sums, self._moments
        end = place + steps
        ratios = sums[end] - sums[place]
        growths = moments[end] - moments[place] - place * ratios
        return self._step * ratios + self._grows * growths
