"""Learns the cost model from a benchmark: the costs with which what was measured comes out best.

All is fitted from the records of requests as clients saw them, so any server can be simulated.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cupola.loadtests.simulate import observed_steps
from cupola.loadtests.simulate.cost_model import TOKENS, CostModel, FitError, shares_of_points
from cupola.loadtests.simulate.drafts import Drafts
from cupola.loadtests.simulate.observed_steps import CHUNK, Answered, Step, Wait
from cupola.loadtests.simulate.spread import Spread

_LEAST_STEPS, _LEAST_ALONE = 20, 5
_PROMPT_RANGE = 3.0  # the longest prompt divided by the shortest one, at least
_CONTEXT_BIN = 200  # tokens of a sequence
_PROMPT_BIN = 8  # tokens
_LONGEST = 0.01  # share of the gaps that is left out
_FAR = 0.1  # a share: what is farther from the fit counts for less
_TIMES = 5  # it is fitted
_SMOOTH = 0.3  # weight of a wish: a part that was not measured continues its neighbours
_MOST_WEIGHT = 4.0  # of a kind of step, however often it was seen: they must not drown the waits
FoundT = TypeVar("FoundT")
_OTHERS = ("context", "depth", "start", "overhead", "intake", "interference")


def fit(lines: Iterable[Mapping[str, Any]]) -> CostModel:
    """From the lines of one or more ``requests.jsonl``. Raises FitError."""
    turns = observed_steps.turns(lines)
    steps = [step for answers in turns for step in observed_steps.steps(answers)]
    waits = [wait for answers in turns for wait in observed_steps.waits(answers)]
    if len(steps) < _LEAST_STEPS:
        raise FitError(
            f"Only {len(steps)} steps were measured; at least {_LEAST_STEPS} are needed. "
            "Measure answers of some length: cupola simulate --calibrate"
        )
    alone = [wait.computed for wait in waits if wait.requests == 1]
    shortest, longest = min(alone, default=1), max(alone, default=1)
    if len(alone) < _LEAST_ALONE or longest < _PROMPT_RANGE * shortest:
        raise FitError(
            f"{len(alone)} requests were alone, with {shortest} to {longest} prompt tokens that "
            "were not cached: prompts of different lengths are needed, one after the other. "
            "Measure them: cupola simulate --calibrate"
        )
    costs = _solved(steps, waits)
    in_order = (step for some in turns for step in observed_steps.steps(some, once=True))
    spread = Spread.of(
        (step.seconds / _modelled(costs, step) for step in in_order),
        (_ratio_of(costs, wait) for wait in waits if wait.requests == 1),
    )
    answers = [answer for each in turns for answer in each]
    return replace(costs, drafts=_drafts(answers), spread=spread)


def _modelled(costs: CostModel, step: Step) -> float:
    run = costs.tokens(step.tokens + step.prompt) + costs.context * step.context
    reading = costs.start * step.prompts + costs.depth * step.deep
    return run + reading + costs.interference * step.arrivals


def _ratio_of(costs: CostModel, wait: Wait) -> float:
    """What was measured as a share of the model, but for ``overhead``."""
    equation = _of_waits([wait])
    runs = sum(map(costs.tokens, equation.runs))
    prompts = costs.depth * wait.deep + costs.start * equation.others[2]
    return (wait.seconds - costs.overhead) / (costs.intake + runs + prompts)


def _drafts(answers: Sequence[Answered]) -> Drafts:
    """Of the pieces, each of which is a step for the costs. ``drafts_of`` may know of fewer steps,
    where the server does not tell."""
    steps = [len(answer.pieces) - 1 for answer in answers]
    if not sum(steps):
        return Drafts()
    tokens = sum(answer.tokens - 1 for answer in answers)
    run = sum(answer.width * count for answer, count in zip(answers, steps, strict=True))
    return Drafts(*(max(1.0, round(each / sum(steps), 2)) for each in (tokens, run)))


def _solved(steps: Sequence[Step], waits: Sequence[Wait]) -> CostModel:
    """The costs with which the means of what is of one kind come out best, by their share.

    A long step must not drown the short ones, and what is far from all others, because the machine
    was busy, counts for less each time. ``run`` is found as its first point and its rises, so that
    it never falls.
    """
    equations = [*map(_of_steps, _kinds(steps, _kind_of_step))]
    equations += map(_of_waits, _kinds(waits, _kind_of_wait))
    features = np.array([[*_rises(each.runs), *each.others] for each in equations])
    seconds = np.maximum([each.seconds for each in equations], 1e-6)
    seen = np.sqrt([each.seen for each in equations])
    wishes = _wishes(float(np.median(seconds)))
    weights = np.minimum(_MOST_WEIGHT, seen) / seconds
    trust = np.ones(len(seconds))
    for _ in range(_TIMES):
        weight = weights * np.sqrt(trust)
        found = non_negative(
            np.concatenate([features * weight[:, None], wishes]),
            np.concatenate([seconds * weight, np.zeros(len(wishes))]),
        )
        trust = _FAR / np.maximum(_FAR, np.abs(features @ found / seconds - 1))
    run = np.maximum(np.cumsum(found[: len(TOKENS)]), 1e-6).tolist()
    costs = CostModel(tuple(run), **dict(zip(_OTHERS, found[len(TOKENS) :].tolist(), strict=True)))
    errors = [
        abs(_modelled(costs, s) / s.seconds - 1) for s in steps if s.seconds > 0 and not s.prompt
    ]
    return replace(costs, error=statistics.median(errors) if errors else 0.0)


def _wishes(typical: float) -> NDArray[np.float64]:
    """Equations that are to give 0: two rises in turn should be of one slope."""
    found = np.zeros((len(TOKENS) - 2, len(TOKENS) + len(_OTHERS)))
    for row, place in enumerate(range(1, len(TOKENS) - 1)):
        found[row, place], found[row, place + 1] = -2.0, 1.0
    return found * _SMOOTH / typical


class _Equation(NamedTuple):
    """What was measured, and how often it holds each of the costs."""

    runs: Sequence[float]  # their tokens
    others: Sequence[float]  # for each of ``_OTHERS``
    seconds: float
    seen: float


def _kind_of_step(step: Step) -> tuple[int, ...]:
    context = int(step.context) // (_CONTEXT_BIN * step.rows)
    return step.rows, context, step.prompts, -(-step.prompt // _PROMPT_BIN), step.arrivals


def _of_steps(some: Sequence[Step]) -> _Equation:
    """A client that is held up gets several pieces at once: the gaps between them are far too
    short, and the one before them is too long. So their mean counts."""
    tokens, context, prompt, deep = (
        statistics.fmean(getattr(step, name) for step in some)
        for name in ("tokens", "context", "prompt", "deep")
    )
    kept = sorted(step.seconds for step in some)[: math.ceil(len(some) * (1 - _LONGEST))]
    others = [context, deep, some[0].prompts, 0.0, 0.0, some[0].arrivals]
    seen = len(some) / some[0].rows  # each of its answers saw the same step
    return _Equation([tokens + prompt], others, statistics.fmean(kept), seen)


def _kind_of_wait(wait: Wait) -> tuple[int, ...]:
    return wait.requests, -(-wait.computed // _PROMPT_BIN)


def _of_waits(some: Sequence[Wait]) -> _Equation:
    requests = some[0].requests
    computed, deep = (
        statistics.fmean(getattr(wait, name) for wait in some) for name in ("computed", "deep")
    )
    whole, rest = divmod(computed, CHUNK)
    chunks = [float(CHUNK)] * int(whole) + [rest] * (rest > 0)
    others = [0.0, deep, requests + len(chunks) - 1, 1.0, requests, 0.0]
    return _Equation(chunks, others, statistics.median(wait.seconds for wait in some), len(some))


def _kinds(found: Iterable[FoundT], kind: Callable[[FoundT], Hashable]) -> Iterable[list[FoundT]]:
    kinds: dict[Hashable, list[FoundT]] = defaultdict(list)
    for each in found:
        kinds[kind(each)].append(each)
    return kinds.values()


def _rises(runs: Sequence[float]) -> list[float]:
    """How often the first point of ``run``, and each rise after it, is in these runs together."""
    shares = np.sum([shares_of_points(tokens) for tokens in runs], axis=0)
    return [float(each) for each in np.cumsum(shares[::-1])[::-1]]


def non_negative(features: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares without negative coefficients (Lawson and Hanson, 1974)."""
    scale = np.maximum(np.linalg.norm(features, axis=0), 1e-12)
    scaled = features / scale
    found = np.zeros(scaled.shape[1])
    used = np.zeros(scaled.shape[1], bool)
    for _ in range(3 * len(found)):
        slope = np.where(used, -np.inf, scaled.T @ (wanted - scaled @ found))
        if slope.max() <= 1e-9 * max(1.0, float(np.abs(wanted).max())):
            break
        used[int(slope.argmax())] = True
        while True:
            solved = np.zeros_like(found)
            solved[used] = np.linalg.lstsq(scaled[:, used], wanted, rcond=None)[0]
            wrong = used & (solved <= 0)
            if not wrong.any():
                found = solved
                break
            share = float((found[wrong] / (found[wrong] - solved[wrong])).min())
            found += share * (solved - found)
            used &= found > 1e-12
            found[~used] = 0.0
    best: NDArray[np.float64] = found / scale
    return best
