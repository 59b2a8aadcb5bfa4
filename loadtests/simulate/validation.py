"""Compares simulations with what was measured. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupola.loadtests.bench.level import Level
from cupola.loadtests.load.results import percentile
from cupola.loadtests.simulate.arrivals import Arrival
from cupola.loadtests.simulate.cost_model import FitError
from cupola.loadtests.simulate.drafts import drafts_of
from cupola.loadtests.simulate.outcome import Simulated
from cupola.loadtests.simulate.simulation import Setup, Simulation

FIGURES = ("tokens_s", "ttft_p50_ms", "ttft_p99_ms", "waiting")
_TIMES = 10  # each round is simulated, with other good and bad moments
_TAIL = 99
_RESAMPLED = 1000
_BLOCK = 20  # requests in a row: a bad moment of the machine meets several

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Compared:
    """One level of load: each figure as it was measured and as it was simulated."""

    level: Level
    requests: int
    measured: Mapping[str, float]
    simulated: Mapping[str, float]
    tail_ms: tuple[float, float]  # the 95% interval of the measured TTFT p99

    def error(self, figure: str) -> float:
        """Of the simulation, as a share of what was measured."""
        return self.simulated[figure] / max(self.measured[figure], 1e-9) - 1


def validate(lines: Iterable[Mapping[str, Any]], setup: Setup) -> list[Compared]:
    """The same requests, simulated: at the same times, or from as many clients, with as many tokens
    a step.

    Each round is compared with simulations of its own requests. A figure is of the round whose
    error is the median; but the 99th percentile is of the requests of all rounds, since one round
    has few that are so slow. Raises FitError if nothing was measured.
    """
    rounds: dict[Level, dict[tuple[str, int], list[Mapping[str, Any]]]] = {}
    for line in lines:
        if line["round"] > 0 and line["end"] == "ok":
            level = Level(line["clients"], line["rate"])
            turn = rounds.setdefault(level, defaultdict(list))
            turn[line["target"], line["round"]].append(line)
    if not rounds:
        raise FitError("no request was answered in that run")
    return [_compare(level, list(some.values()), setup) for level, some in rounds.items()]


def _compare(level: Level, turns: Sequence[list[Mapping[str, Any]]], setup: Setup) -> Compared:
    # What draft tokens gain depends on the texts, so it is the run's own, as the lengths are.
    drafts = drafts_of(line for lines in turns for line in lines)
    setup = replace(setup, costs=replace(setup.costs, drafts=drafts))
    pairs, waits, simulated_waits = [], [], []
    for lines in turns:
        lines.sort(key=lambda line: line["at"])
        some = _simulated(lines, level.clients, setup)
        first = _first_texts(lines)
        waits.append(np.array(first))
        simulated_waits += [each.first - each.arrived for one in some for each in one.finished]
        figures = [one.figures() for one in some]
        means = {key: statistics.fmean(one[key] for one in figures) for key in FIGURES}
        pairs.append((_figures(lines, first), means))
    measured, simulated = _typical(pairs)
    everything = np.concatenate(waits).tolist()
    measured["ttft_p99_ms"] = percentile(everything, _TAIL) * 1000
    simulated["ttft_p99_ms"] = percentile(simulated_waits, _TAIL) * 1000
    low, high = tail_interval(waits)
    return Compared(level, len(everything), measured, simulated, (low * 1000, high * 1000))


def _simulated(lines: Lines, clients: int, setup: Setup) -> list[Simulated]:
    arrivals = list(_arrivals(lines))
    return [
        Simulation(replace(setup, seed=setup.seed + number)).run(arrivals, clients)
        for number in range(_TIMES)
    ]


def tail_interval(rounds: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The 95% interval of the 99th percentile: how far another such run could lie.

    From runs that are drawn of what was measured, as blocks of requests in a row of their rounds
    (Künsch, 1989). Below some hundred requests it is wide.
    """
    chance = np.random.default_rng(0)
    drawn = np.concatenate([_resampled(each, chance) for each in rounds], axis=1)
    tails = [percentile(each, _TAIL) for each in drawn.tolist()]
    low, high = np.percentile(tails, [2.5, 97.5])
    return float(low), float(high)


def _resampled(values: NDArray[np.float64], chance: np.random.Generator) -> NDArray[np.float64]:
    """A row for each drawn round, as long as the measured one."""
    block = min(_BLOCK, len(values))
    begins = chance.integers(len(values), size=(_RESAMPLED, -(-len(values) // block)))
    places = (begins[:, :, None] + np.arange(block)) % len(values)
    found: NDArray[np.float64] = values[places.reshape(_RESAMPLED, -1)[:, : len(values)]]
    return found


def _arrivals(lines: Lines) -> Iterator[Arrival]:
    start = lines[0]["at"]
    for line in lines:
        yield Arrival(
            line["at"] - start,
            line["prompt_tokens"] or 1,
            max(1, line["tokens"]),
            line["cached_tokens"],
        )


def _first_texts(lines: Lines) -> list[float]:
    return [line["ttft"] or line["e2e"] for line in lines]


def _figures(lines: Lines, first: Sequence[float]) -> dict[str, float]:
    began = min(line["at"] for line in lines)
    span = max(1e-9, max(line["at"] + line["e2e"] for line in lines) - began)
    return {
        "tokens_s": sum(line["tokens"] for line in lines) / span,
        "ttft_p50_ms": percentile(first, 50) * 1000,
        "ttft_p99_ms": percentile(first, _TAIL) * 1000,
        "waiting": sum(first) / span,
    }


def _typical(
    rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
) -> tuple[dict[str, float], dict[str, float]]:
    measured, simulated = {}, {}
    for key in FIGURES:
        pairs = sorted(
            ((one[key], other[key]) for one, other in rounds),
            key=lambda pair: pair[1] / max(pair[0], 1e-9),
        )
        measured[key], simulated[key] = pairs[(len(pairs) - 1) // 2]
    return measured, simulated
