"""The report of a load test: latency, throughput, queue, memory and goodput over its time. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cupola.loadtests.load.results import (
    COLUMNS,
    End,
    Objective,
    Record,
    explained,
    figures,
    names,
    notes,
    percentile,
)
from cupola.loadtests.report import html
from cupola.loadtests.report.markdown import number
from cupola.loadtests.report.svg import Line, Point, plot

_PARTS = 40  # of a run, in the plots
_SERIES = re.compile(r"^cupola_(\w+?)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


class Sample(NamedTuple):
    """What the service said of itself at a moment, by the wall clock."""

    at: float
    queued: float
    memory_bytes: float


def sample(metrics: str, at: float) -> Sample | None:
    """From the text of ``/metrics``; None for a server that is not Cupola."""
    totals: dict[str, float] = {}
    for name, value in _SERIES.findall(metrics):
        totals[name] = totals.get(name, 0.0) + float(value)
    if "num_requests_waiting" not in totals:
        return None
    return Sample(at, totals["num_requests_waiting"], totals.get("worker_memory_bytes", 0.0))


def run_page(
    records: Sequence[Record],
    samples: Sequence[Sample],
    objective: Objective,
    about: Sequence[str] = (),
) -> str:
    """Everything in one HTML page. Without samples, queue and memory are left out.

    ``about``: what was asked, of whom, and on which machine.
    """
    if not records:
        return html.page("Load test", [html.paragraph("No request was made.")])
    start = min(record.at for record in records)
    end = max(record.at + record.e2e for record in records)
    wide = max(1e-6, (end - start) / _PARTS)
    parts = [[r for r in records if start + n * wide <= r.at < start + (n + 1) * wide]
             for n in range(_PARTS)]  # fmt: skip
    middles = [(n + 0.5) * wide for n in range(_PARTS)]

    def over_time(name: str, value: Callable[[Sequence[Record]], float]) -> Line:
        return Line(name, [(at, value(some)) for at, some in zip(middles, parts, strict=True)])

    def first(some: Sequence[Record], share: float) -> float:
        ttfts = [r.ttft for r in some if r.end is End.OK and r.ttft is not None]
        return percentile(ttfts, share) * 1000

    drawings = [
        plot(
            "Time to first token, by arrival",
            "s",
            "ms",
            [over_time(f"p{share}", lambda some, s=share: first(some, s)) for share in (50, 99)],  # type: ignore[misc]
        ),
        plot(
            f"Goodput: TTFT up to {objective.ttft * 1000:.0f} ms, ITL p99 up to "
            f"{objective.itl * 1000:.0f} ms",
            "s",
            "requests/s",
            [
                over_time("arrived", lambda some: len(some) / wide),
                over_time("good", lambda some: sum(r.keeps(objective) for r in some) / wide),
            ],
        ),
        plot("Throughput over load", "requests at once", "tokens/s", [_over_load(records, wide)]),
        _queue(records, samples, start, wide),
    ]
    if samples:
        memory = [(each.at - start, each.memory_bytes / 2**20) for each in samples]
        drawings.append(plot("Memory of the workers", "s", "MB", [Line("resident", memory)]))
    seconds = end - start
    rows = [(name, [r for r in records if r.name == name]) for name in names(records)]
    cells = []
    for name, some in [*rows, ("all", list(records))]:
        found = figures(some, seconds, objective)
        cells.append([name, *(number(found[key]) for key in COLUMNS)])
    texts = (*about, explained(seconds, objective), *notes(records))
    told = [html.paragraph(text) for text in texts]
    table = html.table(["scenario", *COLUMNS.values()], cells)
    return html.page("Load test", [table, *told, html.plots(drawings)])


def _over_load(records: Sequence[Record], wide: float) -> Line:
    """A point for each part of the run: how many requests were open, and their tokens."""
    start = min(record.at for record in records)
    points: list[Point] = []
    for part in range(_PARTS):
        low, high = start + part * wide, start + (part + 1) * wide
        shares = [
            (max(0.0, min(high, r.at + r.e2e) - max(low, r.at)), r)
            for r in records
            if r.at < high and r.at + r.e2e > low
        ]
        tokens = sum(r.tokens * share / r.e2e for share, r in shares if r.e2e > 0)
        points.append((sum(share for share, _ in shares) / wide, tokens / wide))
    return Line("a part of the run", points, marks=True, joined=False)


def _queue(records: Sequence[Record], samples: Sequence[Sample], start: float, wide: float) -> str:
    """Requests without their first text, and those without a worker."""
    waiting = []
    for part in range(_PARTS):
        at = start + (part + 0.5) * wide
        waits = sum(r.at <= at < r.at + (r.e2e if r.ttft is None else r.ttft) for r in records)
        waiting.append((at - start, float(waits)))
    lines = [Line("without their first text", waiting)]
    if samples:
        lines.append(Line("in the queue", [(each.at - start, each.queued) for each in samples]))
    return plot("Requests that wait", "s", "requests", lines)
