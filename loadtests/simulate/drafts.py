"""What draft tokens (speculative decoding) did to the steps of measured answers. Pure.

A step gives an answer one token, and the draft tokens that were right. The wrong ones cost as much.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

_ONE_STEP = 0.3  # share of an answer's mean gap: pieces that are closer came of one step
_Tokens = Annotated[float, msgspec.Meta(ge=1, le=1000)]  # as files may have them


@dataclass(frozen=True, slots=True)
class Drafts:
    """Of an answer in a step, on average."""

    gain: _Tokens = 1.0  # that it got
    width: _Tokens = 1.0  # that it had in the run


def drafts_of(lines: Iterable[Mapping[str, Any]]) -> Drafts:
    """Of the steps after the first text.

    If the server does not tell, all drafts count as right.
    """
    tokens = steps = wrong = 0
    for line in lines:
        tokens += line["tokens"] - 1
        steps += steps_of(line)
        wrong += line.get("rejected_drafts", 0)
    if steps <= 0:
        return Drafts()
    gain = max(1.0, tokens / steps)
    return Drafts(round(gain, 2), round(gain + wrong / steps, 2))


def steps_of(line: Mapping[str, Any]) -> int:
    """The steps of an answer after its first text.

    If the server does not tell, pieces that came together are taken for one step.
    """
    if line.get("accepted_drafts") is not None:
        return max(0, int(line["tokens"] - 1 - line["accepted_drafts"]))
    if "steps" in line or not line.get("gaps"):
        return int(line.get("steps", line["tokens"] - 1))
    near = _ONE_STEP * statistics.fmean(line["gaps"])
    return sum(gap >= near for gap in line["gaps"])


def same_step(line: Mapping[str, Any]) -> list[bool]:
    """For each gap, whether the piece behind it came of the step of the piece before it: as many as
    drafts were right, those behind the shortest gaps."""
    gaps = line["gaps"]
    shortest = sorted(range(len(gaps)), key=gaps.__getitem__)
    behind = set(shortest[: line.get("accepted_drafts") or 0])
    return [place in behind for place in range(len(gaps))]
