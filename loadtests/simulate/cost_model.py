"""How long a step of the engine takes, and how that is learnt from a benchmark. Pure.

A step's seconds = run(its tokens) + context x all tokens of the sequences that generate. If it
reads prompts, also start + depth x prompt tokens x tokens before them. ``run`` is a line through
points: where memory is the limit, some tokens more cost nothing, and each costs the same later.
``overhead`` is what a request takes outside the steps, before its first text: HTTP, messages,
tokenizing. Meanwhile the engine does other things, so it delays nobody else.

All is fitted from the records of requests as clients saw them, so any server can be simulated. The
time between two pieces of an answer is a step's. The answers that were under way at that moment,
their lengths, and the prompts whose first text came at its end tell what it held. A request that
was alone tells what comes on top of its steps.
"""

from __future__ import annotations

import json
import math
import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # of a run, between which its time is a line
_LEAST_STEPS, _LEAST_ALONE = 20, 5
_PROMPT_RANGE = 3.0  # the longest prompt divided by the shortest one, at least
_CONTEXT_BIN = 200  # tokens of a sequence
_PROMPT_BIN = 32  # tokens
_LONGEST = 0.01  # share of the gaps that is left out
_ONE_STEP = 128  # tokens of prompts that surely fit into one step
_CHUNK = 256  # tokens of a longer prompt in a step, as ``step_tokens`` is by default
_SMOOTH = 0.1  # weight of a wish: a part that was not measured continues its neighbours
_TOGETHER = 0.004  # seconds between pieces of one step, as clients get them


class FitError(ValueError):
    """What was measured does not say enough: what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds; see the head of the file."""

    run: tuple[float, ...]  # for each number of tokens in ``TOKENS``
    context: float = 0.0
    depth: float = 0.0
    start: float = 0.0
    overhead: float = 0.0
    tokens_a_step: float = 1.0  # above 1 with draft tokens
    error: float = 0.0  # of the fit: half of the measured steps lie closer than this share
    _known: list[float] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def line(
        cls,
        base: float,
        token: float,
        context: float = 0.0,
        depth: float = 0.0,
        start: float = 0.0,
        overhead: float = 0.0,
    ) -> CostModel:
        """Each token of a run costs the same."""
        run = tuple(base + token * tokens for tokens in TOKENS)
        return cls(run, context, depth, start, overhead)

    def tokens(self, number: int) -> float:
        """A run of so many tokens."""
        known = self._known
        while len(known) <= number:
            known.append(sum(r * w for r, w in zip(self.run, _weights(len(known)), strict=True)))
        return known[number]

    def decode(self, rows: int, context: float) -> float:
        """A step in which only so many sequences generate."""
        return self.tokens(rows) + self.context * context

    def step(self, rows: int, context: float, prompt: int, deep: float) -> float:
        """It reads prompts. ``deep``: the sum over prompt tokens of the tokens before them."""
        reading = self.start + self.depth * deep
        return self.tokens(rows + prompt) + self.context * context + reading

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["_known"]
        return values | {"tokens": TOKENS}

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_json(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> CostModel:
        """Raises FitError, OSError."""
        try:
            values = json.loads(path.read_text("utf-8"))
            run, tokens = (tuple(values.pop(key)) for key in ("run", "tokens"))
            found = cls(tuple(map(float, run)), **{key: float(v) for key, v in values.items()})
        except (ValueError, TypeError, AttributeError, LookupError):
            raise FitError(f"{path} is no cost model (costs.json)") from None
        if tokens != TOKENS or len(run) != len(TOKENS):
            raise FitError(f"{path} is of another version: cupola simulate --calibrate")
        if not all(each > 0 for each in found.run):
            raise FitError(f"{path}: a step must take time")
        return found


def _weights(tokens: float) -> list[float]:
    """How much each point of ``run`` counts for a run of so many tokens.

    After the last point the line goes on as it was before it.
    """
    place = min(max(1, bisect_right(TOKENS, tokens)), len(TOKENS) - 1)
    low, high = TOKENS[place - 1], TOKENS[place]
    share = (max(1, tokens) - low) / (high - low)
    found = [0.0] * len(TOKENS)
    found[place - 1], found[place] = 1 - share, share
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
    return replace(
        _solved(steps, alone), tokens_a_step=max(1.0, tokens / pieces) if pieces else 1.0
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
    prompt: int  # tokens
    deep: float
    seconds: float

    @property
    def kind(self) -> tuple[int, int, int]:
        """Steps of one kind take about as long."""
        prompt = -(-self.prompt // _PROMPT_BIN)
        return self.rows, self.context // (_CONTEXT_BIN * self.rows), prompt


def _steps(answers: Sequence[_Answer]) -> Iterable[_Step]:
    """The steps of a turn of which it is known what they held."""
    for answer in answers:
        for before, after in pairwise(answer.pieces):
            rows, read = [], []
            for other in answers:
                if other.first <= before + _TOGETHER:
                    if after - _TOGETHER <= other.last:
                        rows.append(other)
                elif other.first < after - _TOGETHER:
                    break  # a piece is missing
                elif other.first <= after + _TOGETHER:
                    read.append(other)
                elif other.at < before:
                    break  # a part of a prompt may have been read
            else:
                prompt = sum(other.computed for other in read)
                if rows and prompt <= _ONE_STEP:
                    context = sum(other.context(before) for other in rows)
                    deep = sum(other.deep for other in read)
                    yield _Step(len(rows), context, prompt, deep, after - before)


def _alone(answers: Sequence[_Answer]) -> Iterable[_Answer]:
    """The requests beside whose prompt nothing else ran."""
    for answer in answers:
        others = (other for other in answers if other is not answer)
        if not any(other.at < answer.first and answer.at < other.last for other in others):
            yield answer


def _solved(steps: Sequence[_Step], alone: Sequence[_Answer]) -> CostModel:
    """The costs with which the steps, and the waits of those that were alone, come out best.

    Of the means of steps of one kind, because a client that is held up gets several pieces at once:
    their gaps are far too short, and the one before them is too long. By their share: a long step
    must not drown the short ones.

    ``run`` is found as its first point and its rises, so that it never falls.
    """
    kinds: dict[tuple[int, int, int], list[_Step]] = defaultdict(list)
    for step in steps:
        kinds[step.kind].append(step)
    features, seconds, weights = [], [], []
    for some in kinds.values():
        mean = _trimmed_mean([s.seconds for s in some])
        rows = some[0].rows
        context, prompt, deep = (
            statistics.fmean(getattr(s, name) for s in some)
            for name in ("context", "prompt", "deep")
        )
        features.append([*_rises([rows + prompt]), context, deep, float(prompt > 0), 0.0])
        seconds.append(mean)
        weights.append(math.sqrt(len(some)) / max(mean, 1e-6))
    for answer in alone:
        whole, rest = divmod(answer.computed, _CHUNK)
        chunks = [float(_CHUNK)] * whole + [float(rest)] * (rest > 0)
        features.append([*_rises(chunks), 0.0, answer.deep, len(chunks), 1.0])
        seconds.append(answer.first - answer.at)
        weights.append(1 / max(seconds[-1], 1e-6))
    typical = statistics.median(seconds)
    for place in range(1, len(TOKENS) - 1):  # two rises in turn should be of one slope
        wish = [0.0] * (len(TOKENS) + 4)
        wish[place], wish[place + 1] = -2.0, 1.0
        features.append(wish)
        seconds.append(0.0)
        weights.append(_SMOOTH / typical)
    found = _positive_fit(np.array(features), np.array(seconds), np.array(weights))
    run = np.maximum(np.cumsum(found[: len(TOKENS)]), 1e-6).tolist()
    costs = CostModel(tuple(run), *found[len(TOKENS) :])
    errors = [
        abs(costs.decode(s.rows, s.context) / s.seconds - 1)
        for s in steps
        if s.seconds > 0 and not s.prompt
    ]
    return replace(costs, error=statistics.median(errors) if errors else 0.0)


def _rises(runs: Sequence[float]) -> list[float]:
    """How often the first point of ``run``, and each rise after it, is in these runs together."""
    weights = np.sum([_weights(tokens) for tokens in runs], axis=0)
    return [float(each) for each in np.cumsum(weights[::-1])[::-1]]


def _trimmed_mean(values: Sequence[float]) -> float:
    kept = sorted(values)[: max(1, math.ceil(len(values) * (1 - _LONGEST)))]
    return statistics.fmean(kept)


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
