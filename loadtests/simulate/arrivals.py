"""The requests that come: at random, from a closed loop, or from a trace. Pure but for the file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cupola.loadtests.load.workloads import TOKENS_A_WORD, Workload

# A trace's columns in the words of several publishers; case does not count.
_COLUMNS = {
    "at": ("at", "timestamp", "arrived_at", "time"),
    "prompt": ("prompt_tokens", "contexttokens", "request tokens", "num_prefill_tokens"),
    "tokens": ("output_tokens", "generatedtokens", "response tokens", "num_decode_tokens"),
}
_TEMPLATE_TOKENS = 30  # of a chat template, with a default system prompt
_STORY_TOKENS = 15
_AT_ONCE = 4096  # requests whose sizes are drawn
_MOST_TOKENS, _LATEST = 10_000_000, 1e12  # of a request in a trace; seconds


class TraceError(ValueError):
    """A file that is no trace: which line, and what is wanted."""


class Arrival(NamedTuple):
    at: float  # seconds from the start
    prompt: int  # tokens
    tokens: int  # of the answer
    cached: int = 0  # tokens of the prompt that need not be computed


@dataclass(frozen=True, slots=True)
class Sizes:
    """Draws the sizes of a workload's requests."""

    workload: Workload

    def draw(self, chance: np.random.Generator, number: int) -> tuple[Iterable[int], ...]:
        """Tokens of prompts, of answers, and of the prompts' known beginnings, so many.

        The beginning is what all requests of the workload share, after the first one.
        """
        workload = self.workload
        shared = _TEMPLATE_TOKENS + round(TOKENS_A_WORD * len(workload.system.split()))
        own = shared + round(TOKENS_A_WORD * workload.words)
        if workload.prompt:
            prompts = (own + workload.prompt.draws(chance, number)).tolist()
        else:
            prompts = [own + _STORY_TOKENS] * number
        return prompts, workload.answer.draws(chance, number).tolist(), repeat(shared)


def poisson(sizes: Sizes, rate: float, requests: int, seed: int) -> Iterator[Arrival]:
    """So many requests, ``rate`` a second on average."""
    chance, now = np.random.default_rng(seed), 0.0
    for done in range(0, requests, _AT_ONCE):
        number = min(_AT_ONCE, requests - done)
        times = now + np.cumsum(chance.exponential(1 / rate, number))
        now = float(times[-1])
        drawn = zip(times.tolist(), *sizes.draw(chance, number), strict=False)
        yield from map(partial(tuple.__new__, Arrival), drawn)  # twice as fast as ``_make``


def trace(path: Path) -> list[Arrival]:
    """The requests of a CSV file, in the order of their times. Raises TraceError, OSError.

    Its first line names the columns: ``at`` (seconds, or a date with a time), ``prompt_tokens`` and
    ``output_tokens``, or the names in Azure's traces.
    """
    # What is no UTF-8 is told as a line that is no request.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        try:
            found = list(_requests(rows, path))
        except csv.Error as error:
            raise TraceError(f"{path}, line {rows.line_num}: {error}") from None
    if not found:
        raise TraceError(f"{path} has no requests")
    start = min(each.at for each in found)
    return sorted(each._replace(at=each.at - start) for each in found)


def _requests(rows: Iterator[list[str]], path: Path) -> Iterator[Arrival]:
    """Raises TraceError, csv.Error."""
    titles = [title.strip().lower() for title in next(rows, [])]
    places = [_place(titles, *_COLUMNS[key], path=path) for key in ("at", "prompt", "tokens")]
    for number, row in zip(count(2), rows, strict=False):
        if not row:
            continue
        try:
            at, prompt, tokens = (row[place] for place in places)
            yield Arrival(_seconds(at), _count(prompt), _count(tokens))
        except (ValueError, IndexError, OverflowError):
            text = f"{path}, line {number}: not a time and two numbers of tokens"
            raise TraceError(text) from None


def _place(titles: list[str], *names: str, path: Path) -> int:
    for name in names:
        if name in titles:
            return titles.index(name)
    raise TraceError(
        f"{path} has no column {names[0]}: the first line names at, prompt_tokens and output_tokens"
    )


def _count(text: str) -> int:
    """Published traces have requests without tokens. Raises ValueError."""
    if not 0 <= (found := int(text)) <= _MOST_TOKENS:
        raise ValueError(text)
    return max(1, found)


def _seconds(text: str) -> float:
    """Raises ValueError."""
    try:
        found = float(text)
    except ValueError:
        return datetime.fromisoformat(text[:26]).timestamp()
    if not abs(found) <= _LATEST:  # nan too
        raise ValueError(text)
    return found
