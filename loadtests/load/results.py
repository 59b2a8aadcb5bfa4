"""What a run found: a record of every request, and figures over all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from cupola.loadtests.load.reading import Reading

TOGETHER = 0.001  # seconds between pieces that came together


class End(StrEnum):
    """How a request ended. Only those that are ``ok`` count in latencies and goodput."""

    OK = "ok"
    ERROR = "error"
    ABORTED = "aborted"  # by the client, on purpose
    INCOMPLETE = "incomplete"  # the run ended first


@dataclass(frozen=True, slots=True)
class Objective:
    """What an answer must keep to count as goodput. Seconds."""

    ttft: float
    itl: float  # of 99 of 100 of its pauses


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times in seconds; ``at`` is the wall time at which it was to be sent."""

    name: str
    at: float
    end: End
    e2e: float
    waited: float = 0.0  # from the intended to the real start; part of ttft and e2e
    ttft: float | None = None
    tpot: float | None = None
    gaps: list[float] = field(default_factory=list)  # between two pieces of its text
    tokens: int = 0
    counted: bool = True  # the server told the number of tokens
    prompt_tokens: int | None = None
    cached_tokens: int = 0  # of the prompt: they were not computed
    # Draft tokens (speculative decoding) that were right, None: the server does not tell; wrong.
    accepted_drafts: int | None = None
    rejected_drafts: int = 0
    error: str | None = None

    @classmethod
    def of(cls, name: str, at: float, waited: float, end: End, reading: Reading) -> Record:
        """The record of a stream that is over."""
        return cls(
            name=name,
            at=at,
            end=end,
            e2e=reading.e2e or 0.0,
            waited=waited,
            ttft=reading.ttft,
            tpot=reading.tpot,
            gaps=reading.gaps,
            tokens=reading.tokens,
            counted=reading.counted,
            prompt_tokens=reading.prompt_tokens,
            cached_tokens=reading.cached_tokens,
            accepted_drafts=reading.accepted_drafts,
            rejected_drafts=reading.rejected_drafts,
            error=reading.error,
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Record:
        return cls(**(values | {"end": End(values["end"])}))

    def as_json(self) -> dict[str, Any]:
        """With times to a tenth of a millisecond."""
        values = asdict(self)
        times = {key: round(value, 4) for key, value in values.items() if isinstance(value, float)}
        gaps = [round(gap, 4) for gap in self.gaps]
        return values | times | {"gaps": gaps, "end": self.end.value}

    @property
    def pauses(self) -> list[float]:
        """Between the moments at which text came: ITL. Pieces that came together are one moment.

        Several tokens of one step are several pieces. Between them a reader waits for nothing.
        """
        found, since = [], 0.0
        for gap in self.gaps:
            since += gap
            if since >= TOGETHER:
                found.append(since)
                since = 0.0
        return found

    def keeps(self, objective: Objective) -> bool:
        if self.end is not End.OK:
            return False
        in_time = self.ttft is None or self.ttft <= objective.ttft
        pauses = self.pauses
        return in_time and (not pauses or percentile(pauses, 99) <= objective.itl)


class Results:
    """All records of a run. Each goes to ``file`` at once, so a run that breaks leaves them."""

    def __init__(self, path: Path | None = None) -> None:
        self.records: list[Record] = []
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8", buffering=1)

    def add(self, record: Record) -> None:
        self.records.append(record)
        if self._file is not None:
            self._file.write(json.dumps(record.as_json()) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest value at a rank; not a number where there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share / 100 * (len(ordered) - 1)))]


def span(records: Iterable[Record]) -> float:
    """Seconds from the first intended start to the last end."""
    times = [(record.at, record.at + record.e2e) for record in records]
    return max(end for _, end in times) - min(at for at, _ in times) if times else 0.0


def figures(records: Sequence[Record], seconds: float, objective: Objective) -> dict[str, float]:
    """Of records that were made within so many seconds. Times are in ms, rates a second."""
    good = [record for record in records if record.end is End.OK]
    first = [record.ttft for record in good if record.ttft is not None]
    paces = [record.tpot for record in good if record.tpot is not None]
    pauses = [pause for record in good for pause in record.pauses]
    whole = [record.e2e for record in good]
    ends = {end.value: sum(record.end is end for record in records) for end in End}
    per_second = 1 / seconds if seconds else math.nan
    return {
        **ends,
        "ttft_p50_ms": percentile(first, 50) * 1000,
        "ttft_p99_ms": percentile(first, 99) * 1000,
        "itl_p50_ms": percentile(pauses, 50) * 1000,
        "itl_p99_ms": percentile(pauses, 99) * 1000,
        "tpot_p50_ms": percentile(paces, 50) * 1000,
        "e2e_p50_ms": percentile(whole, 50) * 1000,
        "e2e_p99_ms": percentile(whole, 99) * 1000,
        "tokens_s": sum(record.tokens for record in records) * per_second,
        "goodput_s": sum(record.keeps(objective) for record in records) * per_second,
    }


COLUMNS = {
    "ok": "ok",
    "error": "error",
    "aborted": "abort",
    "incomplete": "cut",
    "ttft_p50_ms": "TTFT50",
    "ttft_p99_ms": "TTFT99",
    "itl_p50_ms": "ITL50",
    "itl_p99_ms": "ITL99",
    "tpot_p50_ms": "TPOT50",
    "e2e_p50_ms": "E2E50",
    "e2e_p99_ms": "E2E99",
    "tokens_s": "tok/s",
    "goodput_s": "good/s",
}


def table(records: Sequence[Record], objective: Objective) -> str:
    """The run in a few lines: a row a scenario, and what is to be known about them."""
    if not records:
        return "No request was made."
    seconds = span(records)
    rows = [(name, [each for each in records if each.name == name]) for name in names(records)]
    if len(rows) > 1:
        rows.append(("all", list(records)))
    width = max(len(name) for name, _ in rows)
    lines = [" ".join([" " * width, *(f"{title:>7}" for title in COLUMNS.values())])]
    for name, some in rows:
        found = figures(some, seconds, objective)
        cells = [_cell(key, found[key]) for key in COLUMNS]
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return "\n".join([*lines, explained(seconds, objective), *notes(records)])


def explained(seconds: float, objective: Objective) -> str:
    """What the columns mean."""
    return (
        f"{seconds:.0f} s. Times in ms, counted from the intended start. good/s: answers a second "
        f"with TTFT up to {objective.ttft * 1000:.0f} ms and an ITL p99 up to "
        f"{objective.itl * 1000:.0f} ms."
    )


def names(records: Iterable[Record]) -> list[str]:
    return sorted({record.name for record in records})


def notes(records: Sequence[Record]) -> list[str]:
    """What limits the figures, and the errors by their number."""
    found = []
    if uncounted := sum(not record.counted for record in records if record.end is End.OK):
        found.append(
            f"{uncounted} answers came without usage: a piece of text is counted as a token there."
        )
    for name in names(records):
        cut = [each for each in records if each.name == name and each.end is End.INCOMPLETE]
        if not cut:
            continue
        silent = sum(each.ttft is None for each in cut)
        had = f"; {silent} of them had no text yet" if silent else ""
        found.append(
            f"{name}: {len(cut)} cut by the end of the run, the longest after "
            f"{max(each.e2e for each in cut):.0f} s{had}. Their times are not in the table."
        )
    errors: dict[str, int] = {}
    for record in records:
        if record.end is End.ERROR:
            errors[record.error or "?"] = errors.get(record.error or "?", 0) + 1
    for text, number in sorted(errors.items(), key=lambda each: -each[1])[:5]:
        found.append(f"{number} x {text}")
    return found


def _cell(key: str, value: float) -> str:
    if math.isnan(value):
        return f"{'-':>7}"
    return f"{value:>7.2f}" if key == "goodput_s" else f"{value:>7.0f}"
