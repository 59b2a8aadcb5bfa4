"""What a benchmark leaves for programs: ``bench.json``, and ``requests.jsonl`` as it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from cupola.loadtests.bench.estimate import Estimate, Ratio, paired, unpaired
from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.rounds import Outcome, Plan, Row
from cupola.loadtests.load.results import Record
from cupola.loadtests.report.markdown import table

FORMAT = 1
SPEED = "tokens_s"  # the figure whose ratios are told


class UnreadableError(ValueError):
    """A file that is no result of a benchmark."""


class RequestsFile:
    """A line a request, written at once: a run that breaks leaves what it had."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)

    def keep(self, target: str, level: Level, round_: int, record: Record) -> None:
        place = {"target": target, "clients": level.clients, "rate": level.rate, "round": round_}
        self._file.write(json.dumps(place | record.as_json()) + "\n")

    def close(self) -> None:
        self._file.close()


def document(
    plan: Plan,
    outcome: Outcome,
    targets: Sequence[Mapping[str, str]],
    machine: Mapping[str, str],
    notes: Sequence[str],
    command: str,
    at: str,
) -> dict[str, Any]:
    """All of a run as JSON has it. ``at``: when it was made. A figure that is missing is null."""
    first = {row.level: row for row in reversed(outcome.rows)}  # of the first target
    return {
        "format": FORMAT,
        "made": at,
        "command": command,
        "machine": dict(machine),
        "workload": plan.workload.name,
        "objective": asdict(plan.objective),
        "rounds": plan.rounds,
        "targets": [dict(target) for target in targets],
        "rows": [_row(row, first[row.level]) for row in outcome.rows if row.rounds],
        "notes": [*notes, *_notes(outcome)],
    }


def read(path: Path) -> dict[str, Any]:
    """An earlier run. Raises UnreadableError, OSError."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] != FORMAT:
            raise UnreadableError(f"{path} has format {found['format']}; this program reads 1")
        [(row["target"], row["level"]["clients"], row["figures"][SPEED]) for row in found["rows"]]
    except (ValueError, LookupError, TypeError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError(f"{path} is no result of cupola bench (bench.json)") from None
    return dict(found)


def compared(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown: the new run's speed divided by the old one's, and what differs."""
    before = {_key(row): row for row in old["rows"]}
    if len(new["targets"]) == len(old["targets"]) == 1:  # one target each: whatever its name
        name = new["targets"][0]["name"]
        before = {(name, *key[1:]): row for key, row in before.items()}
    rows = []
    for row in new["rows"]:
        if (earlier := before.get(_key(row))) is None:
            continue
        ratio = unpaired(_rounds(row), _rounds(earlier))
        verdict = "no change to be seen"
        if ratio.sure:
            verdict = "faster" if ratio.value > 1 else "slower"
        elif math.isnan(ratio.low):
            verdict = "too few rounds to tell"
        rows.append([row["target"], row["level"]["label"], ratio.text, verdict])
    if not rows:
        return ["The earlier run has no row with the same target and level."]
    lines = [table(["target", "level", "tokens/s, new / old", ""], rows)]
    for what in ("machine", "workload"):
        if new[what] != old[what]:
            lines.append(f"\nThe two runs differ in their {what}: compare with care.")
    return lines


def _row(row: Row, first: Row) -> dict[str, Any]:
    figures = {key: Estimate.of(row.values(key)) for key in next(iter(row.rounds.values()))}
    both = sorted(row.rounds.keys() & first.rounds.keys())
    ratio = None
    if row is not first:
        ratio = paired(
            [first.rounds[each][SPEED] for each in both], [row.rounds[each][SPEED] for each in both]
        )
    return {
        "target": row.target,
        "level": {**asdict(row.level), "label": row.level.label},
        "figures": {key: _plain(asdict(estimate)) for key, estimate in figures.items()},
        "ratio": None if ratio is None else _plain(asdict(ratio)),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what JSON has no word for."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(each) for each in value]
        return value if math.isfinite(value) else None

    return {key: plain(value) for key, value in values.items()}


def _notes(outcome: Outcome) -> list[str]:
    notes = [f"{text.rstrip('.')}. What it did before is kept." for text in outcome.broken.values()]
    if outcome.uncounted:
        notes.append(
            f"{outcome.uncounted} answers came without usage: a piece of text is counted as a "
            "token there."
        )
    most = sorted(outcome.errors.items(), key=lambda each: -each[1])[:5]
    return notes + [f"{count} x {text}" for text, count in most]


def _key(row: Mapping[str, Any]) -> tuple[str, int, float]:
    return (row["target"], row["level"]["clients"], row["level"]["rate"])


def _rounds(row: Mapping[str, Any]) -> list[float]:
    return [as_float(value) for value in row["figures"][SPEED]["rounds"]]


def as_ratio(values: Mapping[str, Any]) -> Ratio:
    """A ratio that was read from JSON."""
    return Ratio(as_float(values["value"]), as_float(values["low"]), as_float(values["high"]))


def as_float(value: float | None) -> float:
    """A figure that was read from JSON."""
    return math.nan if value is None else value
