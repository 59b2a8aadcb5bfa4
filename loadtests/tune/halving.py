"""Successive halving: many candidates get a short look, the better half a longer one. Pure.

Jamieson and Talwalkar, "Non-stochastic best arm identification", 2016. The default is measured in
every rung, so that what is chosen has been compared with it at each length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cupola.loadtests.tune.candidate import Candidate

FINALISTS = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One look at a candidate. ``score``: higher is better."""

    candidate: Candidate
    rung: int
    score: float
    figures: dict[str, float] = field(default_factory=dict)


class OutOfTimeError(Exception):
    """The budget is used up."""


def halve(
    candidates: Sequence[Candidate],
    default: Candidate,
    look: Callable[[Candidate, int], Trial | None],
) -> list[Trial]:
    """All trials. ``look`` gets a candidate and the rung, which is how long to look.

    It returns None for a candidate that does not work, and raises OutOfTimeError. Then the trials
    until then count.
    """
    trials: list[Trial] = []
    left = [default, *(each for each in candidates if each != default)]
    rung = 0
    try:
        while True:
            found = [trial for each in left if (trial := _kept(look(each, rung), trials))]
            ranked = sorted(found, key=lambda trial: -trial.score)
            if len(ranked) <= FINALISTS:
                return trials
            best = [trial.candidate for trial in ranked[: max(FINALISTS, -(-len(ranked) // 2))]]
            if len(best) == len(left):
                return trials
            left = best if default in best else [*best, default]
            if len(left) <= FINALISTS + 1 and rung:
                return trials
            rung += 1
    except OutOfTimeError:
        return trials


def best(trials: Sequence[Trial], default: Candidate) -> Candidate:
    """The highest score of the highest rung that the default has seen as well."""
    rungs = [trial.rung for trial in trials if trial.candidate == default]
    if not rungs:
        return default
    last = [trial for trial in trials if trial.rung == max(rungs)]
    ours = next(trial for trial in last if trial.candidate == default)
    top = max(last, key=lambda trial: trial.score)
    return top.candidate if top.score > ours.score else default


def _kept(trial: Trial | None, trials: list[Trial]) -> Trial | None:
    if trial is not None:
        trials.append(trial)
    return trial
