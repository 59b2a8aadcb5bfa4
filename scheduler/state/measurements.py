"""How long requests take, and how full steps are, as the scheduler sees it. Pure.

The scheduler is one process, so the numbers are right however many gateways there are.
"""

from __future__ import annotations

from bisect import bisect_left

from cupola.scheduler.protocol.histograms import BOUNDS, Distributions, Histogram
from cupola.scheduler.protocol.messages import LoadModel
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.state.records import Request


class Counter:
    """A histogram that is being counted."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    @property
    def histogram(self) -> Histogram:
        return Histogram(tuple(self._counts), self._total)


class Measurements:
    def __init__(self) -> None:
        self._counters = {name: Counter(bounds) for name, bounds in BOUNDS.items()}

    @property
    def distributions(self) -> Distributions:
        return Distributions(**{name: each.histogram for name, each in self._counters.items()})

    def step(self, requests: int) -> None:
        """A worker has told the outputs of a step."""
        self._counters["requests_of_a_step"].add(requests)

    def turn(self, seconds: float) -> None:
        """The scheduler's loop has turned once."""
        self._counters["turns"].add(seconds)

    def output(self, request: Request, output: Output, now: float) -> None:
        """Something of a request came, before it is ended for it."""
        if isinstance(request.message, LoadModel) or output.progress is not None:
            return
        if request.output_at is None:
            self._counters["to_first_token"].add(max(0.0, now - request.since))
        elif output.made > 0:
            # A step may make several tokens of a sequence: they share its time.
            gap = max(0.0, now - request.output_at) / output.made
            self._counters["between_tokens"].add(gap, output.made)
        request.output_at = now
        if output.last:
            self._counters["whole_request"].add(max(0.0, now - request.since))
