"""What the search tells: three lines, a plot, and how sure it is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cupola.loadtests.report.svg import Line, plot
from cupola.loadtests.tune.halving import Trial
from cupola.loadtests.tune.search import DUEL, Found, Task


def explain(found: Found, task: Task) -> list[str]:
    """Three lines: what was chosen, what was compared, how sure that is."""
    tried = len({trial.candidate for trial in found.trials})
    goal = f"{task.goal} of {task.clients} clients, workload '{task.workload.name}'"
    if found.chosen == found.default:
        first = f"Keep the default settings: {found.default.text}."
    else:
        first = f"Take {found.chosen.text}. The default is {found.default.text}."
    broken = len(found.failed.keys() - {DUEL})
    failed = f"; {broken} did not work" if broken else ""
    if tried < 2:
        why = "Only the default could be measured in this time. Give more --minutes."
        return [first, f"Nothing was compared for {goal}{failed}.", why]
    return [first, f"{tried} settings were measured for {goal}{failed}.", _sure(found)]


def _sure(found: Found) -> str:
    if why := found.failed.get(DUEL):
        return f"The best could not be measured beside the default, which therefore stays: {why}"
    gain = found.gain
    if math.isnan(gain.value):
        return "No other settings were better in the trials. They were short: expect ±10%."
    said = f"{gain.text.replace('x', '×')} times the default's score, side by side"  # noqa: RUF001
    if found.chosen == found.default:
        return f"The best of the others came to {said}, too little to leave it: the default stays."
    if gain.sure:
        return f"Sure: {said}; the 95% interval leaves 1 out."
    return f"Not sure: {said}. Repeat it on a quiet machine, or with more --minutes."


def frontier(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both throughput and latency, by throughput."""
    last: dict[object, Trial] = {trial.candidate: trial for trial in trials}  # the longest look
    points = sorted(last.values(), key=lambda trial: -trial.figures["tokens_s"])
    found: list[Trial] = []
    for trial in points:
        if not found or trial.figures["e2e_p50_ms"] < found[-1].figures["e2e_p50_ms"]:
            found.append(trial)
    return found[::-1]


def picture(found: Found) -> str:
    """Throughput against latency of all that were measured, as SVG."""
    last = {trial.candidate: trial for trial in found.trials}
    best = frontier(found.trials)

    def points(trials: Sequence[Trial]) -> list[tuple[float, float]]:
        return [(each.figures["tokens_s"], each.figures["e2e_p50_ms"]) for each in trials]

    marked = [last[each] for each in (found.default, found.chosen) if each in last]
    return plot(
        "Measured settings: throughput and latency",
        "tokens/s",
        "E2E p50, ms",
        [
            Line("measured", points(list(last.values())), marks=True, joined=False),
            Line("frontier", points(best)),
            Line("default, chosen", points(marked), marks=True, joined=False),
        ],
    )
