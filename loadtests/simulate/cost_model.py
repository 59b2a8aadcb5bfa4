"""How long a step of the engine takes. Pure.

A step's seconds = run(its tokens) + context x all tokens of the sequences that generate. If it
reads prompts, also start x these prompts + depth x prompt tokens x tokens before them. ``run`` is
a line through points: where memory is the limit, some tokens more cost nothing, and each costs the
same later. With ``drafts`` a sequence has more than one of a run's tokens.

What a request takes outside the steps, before its first text, is ``overhead``: HTTP, messages,
tokenizing. ``intake`` is the part of it in which one request waits for the other, so those that
come together begin later. All of it needs processor time. Where that is taken from the engine, the
step that runs while a request comes in is longer, by ``interference``.

These are typical times. ``spread`` has how far measured ones were from them.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cupola.loadtests.simulate.drafts import Drafts
from cupola.loadtests.simulate.spread import Positive, Spread

TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # of a run, between which its time is a line
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]  # as files may have them


class FitError(ValueError):
    """What was measured does not say enough: what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds; see the head of the file."""

    run: tuple[Positive, ...]  # for each number of tokens in ``TOKENS``
    context: _Seconds = 0.0
    depth: _Seconds = 0.0
    start: _Seconds = 0.0
    overhead: _Seconds = 0.0
    intake: _Seconds = 0.0
    interference: _Seconds = 0.0
    drafts: Drafts = field(default_factory=Drafts)
    error: _Seconds = 0.0  # of the fit: half of the measured steps lie closer than this share
    spread: Spread = field(default_factory=Spread)
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
        intake: float = 0.0,
        interference: float = 0.0,
    ) -> CostModel:
        """Each token of a run costs the same."""
        run = tuple(base + token * tokens for tokens in TOKENS)
        return cls(run, context, depth, start, overhead, intake, interference)

    def tokens(self, number: float) -> float:
        """A run of so many tokens."""
        known, whole = self._known, int(number)
        while len(known) <= whole + 1:
            shares = shares_of_points(len(known))
            known.append(sum(r * share for r, share in zip(self.run, shares, strict=True)))
        low = known[whole]
        return low + (number - whole) * (known[whole + 1] - low)

    def decode(self, rows: int, context: float) -> float:
        """A step in which only so many sequences generate, with their drafts."""
        return self.tokens(rows * self.drafts.width) + self.context * context

    def step(self, rows: int, context: float, prompt: int, deep: float, prompts: int = 1) -> float:
        """It reads so many tokens of so many prompts. ``deep``: the sum over these tokens of the
        tokens before each."""
        reading = self.start * prompts + self.depth * deep
        run = self.tokens(rows * self.drafts.width + prompt)
        return run + self.context * context + reading

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["_known"]
        return values | {"tokens": TOKENS}

    def save(self, path: Path) -> None:
        lines = (
            f" {json.dumps(key)}: {json.dumps(value)}" for key, value in self.as_json().items()
        )
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> CostModel:
        """Raises FitError, OSError."""
        data = path.read_bytes()
        try:
            points = msgspec.json.decode(data, type=_Points).tokens
            found = msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise FitError(f"{path} is no cost model (costs.json): {error}") from None
        if points != TOKENS or len(found.run) != len(TOKENS):
            raise FitError(f"{path} is of another version: cupola simulate --calibrate")
        return found


class _Points(msgspec.Struct):
    """What a file with a cost model has besides."""

    tokens: tuple[int, ...]


def shares_of_points(tokens: float) -> list[float]:
    """How much each point of ``run`` counts for a run of so many tokens.

    After the last point the line goes on as it was before it.
    """
    place = min(max(1, bisect_right(TOKENS, tokens)), len(TOKENS) - 1)
    low, high = TOKENS[place - 1], TOKENS[place]
    share = (max(1, tokens) - low) / (high - low)
    found = [0.0] * len(TOKENS)
    found[place - 1], found[place] = 1 - share, share
    return found
