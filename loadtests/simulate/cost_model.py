"""How long a step of the engine takes, and how that is learnt from a benchmark. Pure.

A step's seconds = base + row x sequences that generate + context x all their tokens
+ prompt x prompt tokens + depth x prompt tokens x tokens before them. ``overhead`` is what a
request takes outside the steps, before its first text: HTTP, messages, tokenizing.

All is fitted from the records of requests as clients saw them, so any server can be simulated. The
time between two pieces of an answer is a step's. Where no prompt was read meanwhile, the number of
answers at that moment and their lengths give the first three. The time to the first text of
requests that were alone gives the others.
"""

from __future__ import annotations

import json
import math
import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_STEPS, _LEAST_ALONE = 20, 5
_PROMPT_RANGE = 3.0  # the longest prompt divided by the shortest one, at least
_CONTEXT_BIN = 200  # tokens
_LONGEST = 0.01  # share of the gaps that is left out


class FitError(ValueError):
    """What was measured does not say enough: what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds; see the head of the file."""

    base: float
    row: float
    context: float
    prompt: float
    depth: float = 0.0
    overhead: float = 0.0
    tokens_a_step: float = 1.0  # above 1 with draft tokens
    error: float = 0.0  # of the fit: half of the measured steps lie closer than this share

    def decode(self, rows: int, context: float) -> float:
        """A step in which only so many sequences generate."""
        return self.base + self.row * rows + self.context * context

    def step(self, rows: int, context: float, prompt: int, deep: float) -> float:
        """``deep``: the sum over prompt tokens of the tokens before them."""
        return self.decode(rows, context) + self.prompt * prompt + self.depth * deep

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> CostModel:
        """Raises FitError, OSError."""
        try:
            values = json.loads(path.read_text("utf-8"))
            found = cls(**{key: float(value) for key, value in values.items()})
        except (ValueError, TypeError, AttributeError):
            raise FitError(f"{path} is no cost model (costs.json)") from None
        if not found.base + found.row > 0 or not found.prompt > 0:
            raise FitError(f"{path}: a step must take time")
        return found


def fit(lines: Iterable[Mapping[str, Any]]) -> CostModel:
    """From the lines of one or more ``requests.jsonl``. Raises FitError."""
    turns: dict[object, list[_Answer]] = defaultdict(list)
    try:
        for line in lines:
            if line["end"] == "ok" and line["ttft"] is not None and line["round"] > 0:
                key = (line["target"], line["clients"], line["rate"], line["round"], line["name"])
                turns[key].append(_Answer.of(line))
    except (LookupError, TypeError):
        raise FitError("these are no lines of a benchmark's requests.jsonl") from None
    steps = [step for answers in turns.values() for step in _steps(answers)]
    alone = [answer for answers in turns.values() for answer in _alone(answers)]
    if len(steps) < _LEAST_STEPS:
        raise FitError(
            f"Only {len(steps)} steps were measured; at least {_LEAST_STEPS} are needed. "
            "Measure answers of some length: cupola simulate --calibrate"
        )
    shortest = min((a.computed for a in alone), default=1)
    longest = max((a.computed for a in alone), default=1)
    if len(alone) < _LEAST_ALONE or longest < _PROMPT_RANGE * shortest:
        raise FitError(
            f"{len(alone)} requests were alone, with {shortest} to {longest} prompt tokens that "
            "were not cached: prompts of different lengths are needed, one after the other. "
            "Measure them: cupola simulate --calibrate"
        )
    answers = [answer for each in turns.values() for answer in each]
    tokens = sum(a.tokens - 1 for a in answers)
    pieces = sum(len(a.pieces) - 1 for a in answers)
    base, row, context, error = _fit_decode(steps)
    start, prompt, depth = _fit_prompts(alone)
    return CostModel(
        base=base,
        row=row,
        context=context,
        prompt=prompt,
        depth=depth,
        overhead=max(0.0, start - base),
        tokens_a_step=max(1.0, tokens / pieces) if pieces else 1.0,
        error=error,
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """One request as its client saw it. Times by the wall clock."""

    at: float
    pieces: tuple[float, ...]  # when each came
    prompt: int
    cached: int
    tokens: int

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> _Answer:
        first = line["at"] + line["ttft"]
        times = first + np.concatenate([[0.0], np.cumsum(line["gaps"])])
        return cls(
            line["at"] + line["waited"],
            tuple(times.tolist()),
            line["prompt_tokens"] or 1,
            line["cached_tokens"],
            line["tokens"],
        )

    @property
    def first(self) -> float:
        return self.pieces[0]

    @property
    def last(self) -> float:
        return self.pieces[-1]

    @property
    def computed(self) -> int:
        """Tokens of the prompt that were computed."""
        return max(1, self.prompt - self.cached)

    @property
    def deep(self) -> float:
        """The sum, over those tokens, of the tokens before each."""
        return self.computed * (self.cached + (self.computed - 1) / 2)

    def context(self, now: float) -> int:
        return self.prompt + bisect_right(self.pieces, now)


@dataclass(frozen=True, slots=True)
class _Step:
    rows: int
    context: int
    seconds: float


def _steps(answers: Sequence[_Answer]) -> Iterable[_Step]:
    """The steps of a turn in which no prompt was read."""
    for answer in answers:
        for before, after in zip(answer.pieces, answer.pieces[1:], strict=False):
            if any(other.at < after and before < other.first for other in answers):
                continue
            rows = [other for other in answers if other.first <= before and after <= other.last]
            if rows:
                context = sum(other.context(before) for other in rows)
                yield _Step(len(rows), context, after - before)


def _alone(answers: Sequence[_Answer]) -> Iterable[_Answer]:
    """The requests beside whose prompt nothing else ran."""
    for answer in answers:
        others = (other for other in answers if other is not answer)
        if not any(other.at < answer.first and answer.at < other.last for other in others):
            yield answer


def _fit_decode(steps: Sequence[_Step]) -> tuple[float, float, float, float]:
    """base, row, context, and the error.

    Of means, because a client that is held up gets several pieces at once: their gaps are far too
    short, and the one before them is too long. The longest gaps of each kind do not count.
    """
    bins: dict[tuple[int, int], list[_Step]] = defaultdict(list)
    for step in steps:
        bins[step.rows, step.context // (_CONTEXT_BIN * step.rows)].append(step)
    features = [
        [1.0, rows, statistics.median(s.context for s in some)] for (rows, _), some in bins.items()
    ]
    seconds = [_trimmed_mean([s.seconds for s in some]) for some in bins.values()]
    weights = [math.sqrt(len(some)) for some in bins.values()]
    base, row, context = _positive_fit(np.array(features), np.array(seconds), np.array(weights))
    errors = [
        abs(base + row * s.rows + context * s.context - s.seconds) / s.seconds
        for s in steps
        if s.seconds > 0
    ]
    return base, row, context, statistics.median(errors) if errors else 0.0


def _trimmed_mean(values: Sequence[float]) -> float:
    kept = sorted(values)[: max(1, math.ceil(len(values) * (1 - _LONGEST)))]
    return statistics.fmean(kept)


def _fit_prompts(alone: Sequence[_Answer]) -> tuple[float, float, float]:
    """What a request takes before its prompt, a token of it, and a token for each before it."""
    features = [[1.0, a.computed, a.deep] for a in alone]
    seconds = [a.first - a.at for a in alone]
    # By their share: a long prompt must not drown the short ones.
    weights = [1 / max(each, 1e-6) for each in seconds]
    start, prompt, depth = _positive_fit(np.array(features), np.array(seconds), np.array(weights))
    if prompt <= 0:
        prompt, depth = max(seconds) / max(a.computed for a in alone), 0.0
    return start, prompt, depth


def _positive_fit(
    features: NDArray[np.float64], wanted: NDArray[np.float64], weights: NDArray[np.float64]
) -> list[float]:
    """Least squares without negative coefficients: the most negative one is left out in turn."""
    columns = list(range(features.shape[1]))
    found = np.zeros(features.shape[1])
    while columns:
        scale = np.abs(features[:, columns]).max(axis=0)
        scaled = features[:, columns] / scale * weights[:, None]
        solved = np.linalg.lstsq(scaled, wanted * weights, rcond=None)[0] / scale
        if (solved >= 0).all():
            found[columns] = solved
            break
        columns.remove(columns[int(np.argmin(solved * scale))])
    return [float(value) for value in found]
