"""What a benchmark tells people: ``bench.md``, ``bench.svg``, a table for the terminal. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cupola.loadtests.bench.document import SPEED, as_float, as_ratio
from cupola.loadtests.report.markdown import number, table
from cupola.loadtests.report.svg import Line, plot

_COLUMNS = {
    "tokens_s": "tokens/s",
    "ttft_p50_ms": "TTFT p50, ms",
    "ttft_p99_ms": "TTFT p99, ms",
    "itl_p50_ms": "ITL p50, ms",
    "itl_p99_ms": "ITL p99, ms",
    "tpot_p50_ms": "TPOT p50, ms",
    "e2e_p50_ms": "E2E p50, ms",
    "goodput_s": "goodput/s",
    "error": "errors",
}
_DEFINITIONS = """\
| figure | meaning |
|---|---|
| TTFT | from the intended start of a request to its first text, thought or tool call |
| ITL | between two moments at which text of one answer came; pieces within 1 ms came together |
| TPOT | (E2E - TTFT) / (tokens - 1) of one answer |
| E2E | from the intended start to the end of the answer |
| tokens/s | tokens of all answers, also of broken ones, divided by the round's time |
| goodput/s | complete answers a second; TTFT up to {ttft:g} ms, ITL p99 up to {itl:g} ms |

A cell is the median over {rounds} rounds, with the lowest and the highest in brackets. A ratio is
the geometric mean over the rounds with its 95% interval."""


def markdown(found: Mapping[str, Any], comparison: Sequence[str] = ()) -> str:
    """The report for people."""
    titles = ["target", "level", *_COLUMNS.values()]
    several = len(found["targets"]) > 1
    if several:
        titles.append(f"{found['targets'][0]['name']} / this")
    rows = []
    for row in found["rows"]:
        cells = [row["target"], row["level"]["label"]]
        cells += [_cell(row["figures"][key]) for key in _COLUMNS]
        if several:
            cells.append(as_ratio(row["ratio"]).text if row["ratio"] else "")
        rows.append(cells)
    objective = {key: value * 1000 for key, value in found["objective"].items()}
    targets = [[each["name"], each["where"], each["model"]] for each in found["targets"]]
    parts = [
        f"# Benchmark: {found['workload']}",
        f"    {found['command']}",
        table(titles, rows) if rows else "Nothing could be measured.",
        "\n".join(f"- {note}" for note in found["notes"]),
        "\n".join(["## Compared with an earlier run", "", *comparison]) if comparison else "",
        "## Targets",
        table(["name", "where", "model"], targets),
        f"## Machine, {found['made']}",
        table(["", ""], [[key, value] for key, value in found["machine"].items()]),
        "## Definitions",
        _DEFINITIONS.format(**objective, rounds=found["rounds"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def lines(found: Mapping[str, Any]) -> list[list[str]]:
    """The rows for a terminal: target, level, and the figures that matter most."""
    shown = ("tokens_s", "ttft_p50_ms", "itl_p50_ms", "itl_p99_ms", "goodput_s", "error")
    return [
        [
            row["target"],
            row["level"]["label"],
            *(number(as_float(row["figures"][key]["median"])) for key in shown),
            as_ratio(row["ratio"]).text if row["ratio"] else "",
        ]
        for row in found["rows"]
    ]


def picture(found: Mapping[str, Any]) -> str:
    """Tokens a second over the load, a line for each target, as SVG."""
    lines = []
    for target in found["targets"]:
        rows = [row for row in found["rows"] if row["target"] == target["name"]]
        points = [
            (
                row["level"]["clients"] or row["level"]["rate"],
                as_float(row["figures"][SPEED]["median"]),
            )
            for row in rows
        ]
        lines.append(Line(target["name"], sorted(points), marks=True))
    rates = any(row["level"]["rate"] for row in found["rows"])
    return plot("Throughput", "requests/s" if rates else "clients", "tokens/s", lines)


def _cell(estimate: Mapping[str, Any]) -> str:
    median, low, high = (as_float(estimate[key]) for key in ("median", "low", "high"))
    if not math.isfinite(median) or low == high:
        return number(median)
    return f"{number(median)} ({number(low)} to {number(high)})"
