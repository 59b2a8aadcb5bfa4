"""What the records of a benchmark's requests tell about the steps of the engine. Pure.

The time between two pieces of an answer is a step's. The answers that were under way at that
moment, their lengths, and the prompts whose first text came at its end tell what it held. Requests
that found the engine idle, alone or together, tell what comes on top of their steps. All times
count from a request's intended start, as TTFT does.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cupola.loadtests.simulate.cost_model import FitError
from cupola.loadtests.simulate.drafts import drafts_of, same_step

_ONE_STEP = 128  # tokens of prompts that surely fit into one step beside answers
_ONE_CHUNK = 16  # tokens of a prompt that are never read in two
_TOGETHER, _SHARE = 0.004, 0.3  # seconds, and share of a step, between pieces of one step
_SENT_TOGETHER = 0.03  # seconds between requests that find the engine idle together
_READ_TOGETHER = 0.003  # seconds between their first texts, for each of them
_EARLY = 0.5  # of a typical step
CHUNK = 256  # tokens of prompts in a step, as ``step_tokens`` is by default


@dataclass(frozen=True, slots=True)
class Answered:
    """One request as its client saw it. Times by the wall clock."""

    at: float
    pieces: tuple[float, ...]  # when each came; of a step with draft tokens, the last one
    prompt: int
    cached: int
    tokens: int
    width: float = 1.0  # tokens of the answer in the run of a step, wrong draft tokens included

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Answered:
        times = [line["at"] + line["ttft"]]
        for gap, same in zip(line["gaps"], same_step(line), strict=True):
            if same:
                times[-1] += gap
            else:
                times.append(times[-1] + gap)
        return cls(
            line["at"],
            tuple(times),
            line["prompt_tokens"] or 1,
            line["cached_tokens"],
            line["tokens"],
            drafts_of([line]).width if line.get("accepted_drafts") is not None else 1.0,
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

    def context(self, now: float) -> float:
        share = bisect_right(self.pieces, now) / len(self.pieces)
        return self.prompt + share * self.tokens


@dataclass(frozen=True, slots=True)
class Step:
    """Between two pieces of an answer."""

    rows: int
    tokens: float  # of the rows in the run, draft tokens included
    context: float
    prompts: int
    prompt: int  # tokens of them
    deep: float
    arrivals: int  # requests that came in while it began
    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """For the first text, of requests that found the engine idle together."""

    requests: int
    computed: int  # tokens of all their prompts
    deep: float
    seconds: float


def turns(lines: Iterable[Mapping[str, Any]]) -> list[list[Answered]]:
    """The answers of each turn of a benchmark. Raises FitError."""
    found: dict[object, list[Answered]] = defaultdict(list)
    try:
        for line in lines:
            if line["end"] == "ok" and line["ttft"] is not None and line["round"] > 0:
                key = (line["target"], line["clients"], line["rate"], line["round"], line["name"])
                found[key].append(Answered.of(line))
    except (LookupError, TypeError):
        raise FitError("these are no lines of a benchmark's requests.jsonl") from None
    return list(found.values())


def steps(answers: Sequence[Answered], once: bool = False) -> Iterable[Step]:
    """The steps of a turn of which it is known what they held, as each answer saw them.

    ``once``: no step comes twice, and all are in their order.
    """
    gaps = [after - before for answer in answers for before, after in pairwise(answer.pieces)]
    # Those that come later are not looked for: the longer a step is, the more of them there are.
    early = _EARLY * statistics.median(gaps) if gaps else 0.0
    for answer in _in_turn(answers) if once else answers:
        began = None  # the step before
        for before, after in pairwise(answer.pieces):
            if (step := _step(answers, began, before, after, early)) is not None:
                yield step
            began = before


def _in_turn(answers: Sequence[Answered]) -> Iterable[Answered]:
    """Answers of which each begins after the end of the one before."""
    until = 0.0
    for answer in sorted(answers, key=lambda answer: answer.first):
        if answer.first >= until:
            until = answer.last
            yield answer


def _step(
    answers: Sequence[Answered], began: float | None, before: float, after: float, early: float
) -> Step | None:
    """``began``: when the step before began; a prompt that came since is read in this one.
    ``early``: arrivals of so many seconds count."""
    rows, read, arrivals = [], [], 0
    near = min(_TOGETHER, _SHARE * (after - before))
    for other in answers:
        if other.first <= before + near:
            if after - near <= other.last:
                rows.append(other)
        elif other.first < after - near:
            return None  # a piece is missing
        elif other.first <= after + near:
            if other.computed > _ONE_CHUNK and (began is None or other.at < began):
                return None  # a part of the prompt may have been read before
            read.append(other)
        elif other.at < before:
            return None  # a part of a prompt may have been read
        elif other.at < min(after, before + early):
            arrivals += 1
    prompt = sum(other.computed for other in read)
    if not rows or prompt > _ONE_STEP:
        return None
    context = sum(other.context(before) for other in rows)
    deep = sum(other.deep for other in read)
    tokens = sum(other.width for other in rows)
    return Step(len(rows), tokens, context, len(read), prompt, deep, arrivals, after - before)


def waits(answers: Sequence[Answered]) -> Iterable[Wait]:
    """Those of one request alone, and of several that were read in one step."""
    ordered = sorted(answers, key=lambda answer: answer.at)
    busy_until = -1.0  # by the requests that came before
    for number, first in enumerate(ordered):
        if first.at > busy_until:
            end = bisect_left(ordered, first.first, number, key=lambda answer: answer.at)
            together = ordered[number:end]
            if together[-1].at - first.at < _SENT_TOGETHER and (wait := _wait(together)):
                yield wait
        busy_until = max(busy_until, first.last)


def _wait(together: Sequence[Answered]) -> Wait | None:
    computed = sum(answer.computed for answer in together)
    deep = sum(answer.deep for answer in together)
    seconds = statistics.median(answer.first - answer.at for answer in together)
    if len(together) > 1:
        firsts = [answer.first for answer in together]
        if computed > CHUNK or max(firsts) - min(firsts) > _READ_TOGETHER * len(together):
            return None  # read in several steps
    return Wait(len(together), computed, deep, seconds)
