"""How many workers a load needs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from cupola.loadtests.load.results import percentile
from cupola.loadtests.simulate.arrivals import Arrival
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.loadtests.simulate.simulation import Setup, Simulation
from cupola.loadtests.simulate.spread import DrawnRatios
from cupola.loadtests.simulate.worker import SimulatedWorker

MOST_WORKERS = 4096


class TooMuch(ValueError):
    """No number of workers is enough."""


def workers_needed(
    setup: Setup, arrivals: Callable[[], Iterable[Arrival]], ttft_p99: float
) -> tuple[int, dict[str, float]]:
    """The fewest workers with which all requests are answered and ``ttft_p99`` (s) is kept.

    More workers never make it worse, so the number is doubled until it is enough and then halved
    into. Raises TooMuch.
    """
    drawn, chance = DrawnRatios(setup.costs.spread, setup.seed), Random(setup.seed)
    alone = percentile([_alone(setup, each, drawn, chance.random()) for each in arrivals()], 99)
    if alone > ttft_p99:
        raise TooMuch(
            f"No number of workers keeps a TTFT p99 of {ttft_p99:g} s: with a worker for each "
            f"request it is {alone:.2g} s"
        )
    tried: dict[int, dict[str, float]] = {}

    def enough(workers: int) -> bool:
        found = Simulation(replace(setup, workers=workers)).run(arrivals())
        tried[workers] = found.figures(ttft_p99)
        kept = tried[workers]["ttft_p99_ms"] <= ttft_p99 * 1000
        return kept and not found.refused and not found.lost

    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_WORKERS:
            raise TooMuch(f"Not even {MOST_WORKERS} workers keep a TTFT p99 of {ttft_p99:g} s")
    low = high // 2 + 1
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high, tried[high]


def _alone(setup: Setup, arrival: Arrival, drawn: DrawnRatios, place: float) -> float:
    """The time to the first text of a request on a worker of its own."""
    worker = SimulatedWorker(setup.size, setup.costs, drawn=drawn, place=place)
    request = SimulatedRequest(0, 0.0, arrival.prompt, arrival.tokens, arrival.cached)
    worker.add(request, 0.0)
    while request.first is None:
        worker.end()
    return request.first + setup.costs.overhead
